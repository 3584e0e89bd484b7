//! What the database says of itself.

use jiff::Timestamp;
use pilothouse_storage::{Config, Inspection, inspect};

use super::{Finding, size};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// A table this small is no matter, whatever it is made of.
const BLOAT_BYTES: u64 = 64 * MIB;
/// PostgreSQL refuses writes at two thousand millions.
const FROZEN: (u64, u64) = (1_000_000_000, 1_600_000_000);
const KEPT: (u64, u64) = (GIB, 10 * GIB);
const LAG: (u64, u64) = (64 * MIB, GIB);
/// Seconds.
const OLD_TRANSACTION: (f64, f64) = (300.0, 3600.0);
const SKEW: (f64, f64) = (2.0, 30.0);

pub async fn look(url: Option<&str>) -> Vec<Finding> {
    let Some(url) = url else {
        return vec![Finding::warning("was not looked at", "Name it with --database-url.")];
    };
    match inspect(&Config::new(url)).await {
        Ok(found) => judge(&found, Timestamp::now().as_microsecond()),
        Err(error) => vec![Finding::bad(format!("cannot be reached: {error}"), "Is PostgreSQL running? See its log.")],
    }
}

fn judge(found: &Inspection, now_micros: i64) -> Vec<Finding> {
    let mut findings = vec![Finding::good(format!(
        "PostgreSQL {}, {}, revision {}, compacted up to {}",
        found.version,
        size(found.bytes),
        found.revision,
        found.compacted
    ))];
    if found.is_replica {
        findings.push(Finding::bad("this server is a replica", "Name the primary, or all servers: host,host."));
    }
    for (name, value) in &found.settings {
        let finding = match (name.as_str(), value.as_str()) {
            ("fsync" | "full_page_writes", "off") => {
                Finding::bad(format!("{name} is off"), "A power cut may destroy everything: switch it on.")
            }
            ("synchronous_commit", "off") => {
                Finding::bad(format!("{name} is off"), "Acknowledged writes are lost in a crash: switch it on.")
            }
            ("autovacuum", "off") => Finding::bad(format!("{name} is off"), "Tables grow for ever: switch it on."),
            _ => Finding::good(format!("{name} is {value}")),
        };
        findings.push(finding);
    }
    for table in &found.tables {
        let what = format!("{}: {}, {} rows, {} dead", table.name, size(table.bytes), table.rows, table.dead);
        let bloated = table.bytes > BLOAT_BYTES && table.dead > table.rows.max(10_000);
        findings.push(if bloated {
            Finding::warning(what, "Vacuum does not keep up: look for old transactions and slots.")
        } else {
            Finding::good(what)
        });
    }
    for slot in &found.slots {
        let what = format!("replication slot {} keeps {} of log", slot.name, size(slot.kept_bytes));
        findings.push(if slot.is_active {
            Finding::by(what, slot.kept_bytes, KEPT.0, KEPT.1, "Its replica does not keep up.")
        } else {
            let what = format!("{what}, and nobody uses it");
            Finding::by(
                what,
                slot.kept_bytes,
                1,
                KEPT.1,
                "Bring its replica back, or drop the slot: it fills the disk.",
            )
        });
    }
    for replica in &found.replicas {
        let what = format!(
            "replica {} ({}, {}) is {} behind",
            replica.name,
            replica.state,
            if replica.is_synchronous { "synchronous" } else { "asynchronous" },
            size(replica.lag_bytes)
        );
        let lag = if replica.state == "streaming" { replica.lag_bytes } else { replica.lag_bytes.max(LAG.0) };
        findings.push(Finding::by(what, lag, LAG.0, LAG.1, "A failover to it would lose what is not synchronous."));
    }
    let seconds = found.oldest_transaction_seconds;
    findings.push(Finding::by(
        format!("the oldest transaction is {seconds:.0} s old"),
        seconds,
        OLD_TRANSACTION.0,
        OLD_TRANSACTION.1,
        "Nothing deleted since can be cleaned up: end it (pg_terminate_backend).",
    ));
    findings.push(Finding::by(
        format!("{} million transactions since the last freeze", found.frozen_age / 1_000_000),
        found.frozen_age,
        FROZEN.0,
        FROZEN.1,
        "VACUUM FREEZE before two thousand millions, or PostgreSQL refuses writes.",
    ));
    let (used, most) = (found.connections, found.max_connections.max(1));
    let what = format!("{used} of {most} connections are in use");
    findings.push(Finding::by(what, used * 100 / most, 80, 95, "Raise max_connections."));
    let failures = found.checksum_failures;
    let what = format!("{failures} pages with wrong checksums");
    findings.push(Finding::by(what, failures, 1, 1, "The disk is failing: restore from a backup elsewhere."));
    let skew = (found.clock_micros - now_micros) as f64 / 1e6;
    findings.push(Finding::by(
        format!("its clock differs by {:.1} s from this machine's", skew.abs()),
        skew.abs(),
        SKEW.0,
        SKEW.1,
        "Synchronise the clocks (NTP).",
    ));
    findings
}

#[cfg(test)]
mod tests {
    use pilothouse_storage::{Replica, Slot, Table};

    use super::*;
    use crate::doctor::Level;

    fn healthy() -> Inspection {
        Inspection {
            version: "15".into(),
            max_connections: 100,
            settings: vec![("fsync".into(), "on".into())],
            ..Inspection::default()
        }
    }

    fn told(change: impl FnOnce(&mut Inspection)) -> Vec<(Level, String)> {
        let mut found = healthy();
        change(&mut found);
        let findings = judge(&found, 0).into_iter().filter(|finding| finding.level > Level::Good);
        findings.map(|finding| (finding.level, finding.what)).collect()
    }

    #[test]
    fn only_what_is_wrong_is_told() {
        assert!(told(|_| ()).is_empty());
        let cases: [(&str, Level, fn(&mut Inspection)); 11] = [
            ("fsync", Level::Bad, |it| it.settings[0].1 = "off".into()),
            ("a replica", Level::Bad, |it| it.is_replica = true),
            ("objects", Level::Warning, |it| {
                it.tables.push(Table { name: "objects".into(), bytes: GIB, rows: 20_000, dead: 30_000 });
            }),
            ("nobody uses it", Level::Warning, |it| {
                it.slots.push(Slot { name: "old".into(), is_active: false, kept_bytes: MIB });
            }),
            ("nobody uses it", Level::Bad, |it| {
                it.slots.push(Slot { name: "old".into(), is_active: false, kept_bytes: 20 * GIB });
            }),
            ("replica b", Level::Warning, |it| {
                it.replicas.push(Replica { name: "b".into(), state: "catchup".into(), ..Replica::default() });
            }),
            ("oldest transaction", Level::Warning, |it| it.oldest_transaction_seconds = 400.0),
            ("freeze", Level::Bad, |it| it.frozen_age = 1_700_000_000),
            ("connections", Level::Warning, |it| it.connections = 85),
            ("checksums", Level::Bad, |it| it.checksum_failures = 1),
            ("clock", Level::Warning, |it| it.clock_micros = -5_000_000),
        ];
        for (what, level, change) in cases {
            let told = told(change);
            assert!(told.len() == 1 && told[0].0 == level && told[0].1.contains(what), "{what}: {told:?}");
        }
    }
}
