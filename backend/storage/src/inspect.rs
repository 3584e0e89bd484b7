//! What a person who looks after the database wants to know of it. Only reads, by a session of its own.

use crate::database::Database;
use crate::log::unsigned;
use crate::{Config, Result, sql};

/// The state of the database.
#[derive(Clone, Debug, Default)]
pub struct Inspection {
    pub version: String,
    /// Whether it follows another server, and cannot be written to.
    pub is_replica: bool,
    pub bytes: u64,
    /// The folder of its files, on its own machine.
    pub data_directory: String,
    /// Its clock, in microseconds since 1970.
    pub clock_micros: i64,
    pub connections: u64,
    pub max_connections: u64,
    /// Age of the oldest transaction that still runs: nothing deleted since can be cleaned up.
    pub oldest_transaction_seconds: f64,
    /// Transactions since the last freeze; at two thousand millions PostgreSQL stops.
    pub frozen_age: u64,
    pub checksum_failures: u64,
    /// Settings that a store lives by: name, value.
    pub settings: Vec<(String, String)>,
    pub tables: Vec<Table>,
    pub slots: Vec<Slot>,
    pub replicas: Vec<Replica>,
    pub revision: u64,
    pub compacted: u64,
}

/// A table with what belongs to it.
#[derive(Clone, Debug, Default)]
pub struct Table {
    pub name: String,
    pub bytes: u64,
    pub rows: u64,
    /// Rows that are gone, and whose room is not free yet.
    pub dead: u64,
}

/// A replication slot, for which the server keeps its log.
#[derive(Clone, Debug, Default)]
pub struct Slot {
    pub name: String,
    pub is_active: bool,
    pub kept_bytes: u64,
}

/// A server that follows this one.
#[derive(Clone, Debug, Default)]
pub struct Replica {
    pub name: String,
    /// `streaming` when all is well.
    pub state: String,
    /// Whether commits wait for it.
    pub is_synchronous: bool,
    pub lag_bytes: u64,
}

/// # Errors
/// `Unavailable`, or what PostgreSQL says.
pub async fn inspect(config: &Config) -> Result<Inspection> {
    let database = Database::new(config)?;
    let session = database.session(None).await?;
    let client = &session.client;
    let row = client.query_one(sql::INSPECT, &[]).await?;
    let mut found = Inspection {
        version: row.try_get(0)?,
        is_replica: row.try_get(1)?,
        bytes: unsigned(row.try_get(2)?),
        data_directory: row.try_get(3)?,
        clock_micros: row.try_get(4)?,
        connections: unsigned(row.try_get(5)?),
        max_connections: unsigned(row.try_get(6)?),
        oldest_transaction_seconds: row.try_get(7)?,
        frozen_age: unsigned(row.try_get(8)?),
        checksum_failures: unsigned(row.try_get(9)?),
        ..Inspection::default()
    };
    for row in client.query(sql::INSPECT_SETTINGS, &[]).await? {
        found.settings.push((row.try_get(0)?, row.try_get(1)?));
    }
    for row in client.query(sql::INSPECT_TABLES, &[]).await? {
        found.tables.push(Table {
            name: row.try_get(0)?,
            bytes: unsigned(row.try_get(1)?),
            rows: unsigned(row.try_get(2)?),
            dead: unsigned(row.try_get(3)?),
        });
    }
    for row in client.query(sql::INSPECT_SLOTS, &[]).await? {
        let (name, is_active) = (row.try_get(0)?, row.try_get(1)?);
        found.slots.push(Slot { name, is_active, kept_bytes: unsigned(row.try_get(2)?) });
    }
    for row in client.query(sql::INSPECT_REPLICAS, &[]).await? {
        found.replicas.push(Replica {
            name: row.try_get(0)?,
            state: row.try_get(1)?,
            is_synchronous: row.try_get(2)?,
            lag_bytes: unsigned(row.try_get(3)?),
        });
    }
    let row = client.query_one(sql::STATE, &[]).await?;
    (found.revision, found.compacted) = (unsigned(row.try_get(0)?), unsigned(row.try_get(1)?));
    Ok(found)
}
