//! Filling the cache from nothing, and starting a new timeline when acknowledged history was lost.
//!
//! A crash loses the last asynchronous commits, a failover to a lagging standby may lose more. Whoever notices that the
//! log does not contain what it has seen moves the revision past everything that anyone can have seen, and declares all
//! of it compacted: so no lost `resourceVersion` is ever given out again, and every client holding one lists anew.

use std::sync::Arc;
use std::time::Instant;

use futures::StreamExt;
use tokio::task::JoinSet;
use tokio_postgres::Row;

use super::Known;
use super::link::{Link, State, step};
use crate::log::{signed, unsigned};
use crate::shared::Shared;
use crate::{Error, Key, Obj, Result, log, sql};

/// Objects parsed by one task.
const CHUNK: usize = 1000;

impl Link {
    /// Starts a timeline behind the cache's revision, unless all up to that is compacted anyway.
    pub async fn start_timeline_if_needed(&mut self, shared: &Shared, batch: i64) -> Result<()> {
        let seen = shared.cache.revision();
        let row = step(async { Ok(self.session.client.query_one(sql::STATE, &[]).await?) }).await?;
        let state = State::read(&row)?;
        if state.compacted >= seen {
            return Ok(());
        }
        // Other backends may still be writing; a partition is ample room for what they do meanwhile.
        let top = state.revision.max(seen) + shared.config.partition_revisions.max(1);
        shared.set_edge(state.edge);
        self.make_room(shared, top).await?;
        tracing::warn!(seen, found = state.revision, "acknowledged history is gone; starting a new timeline");
        self.may_write().await;
        step(async { Ok(self.session.client.execute(sql::START_TIMELINE, &[&signed(seen), &batch]).await?) }).await?;
        Ok(())
    }

    /// Replaces the cache by what the database holds, at one revision.
    pub async fn load(&mut self, shared: &Arc<Shared>) -> Result<Known> {
        let started = Instant::now();
        let client = &self.session.client;
        step(async { Ok(client.execute(sql::FIRST_CHANGE, &[]).await?) }).await?;
        // Seconds for a million objects: longer than a statement may usually take.
        step(async { Ok(client.batch_execute(sql::BEGIN_LOAD).await?) }).await?;
        let row = step(async { Ok(client.query_one(sql::STATE, &[]).await?) }).await?;
        let state = State::read(&row)?;
        let row = step(async { Ok(client.query_opt(sql::BATCH_OF, &[&signed(state.revision)]).await?) }).await?;
        let anchor = row
            .ok_or_else(|| Error::Internal(format!("the log lacks its newest revision {}", state.revision)))?
            .try_get(0)?;
        let objects = self.objects(shared).await?;
        step(async { Ok(self.session.client.batch_execute(sql::END).await?) }).await?;

        tracing::info!(objects = objects.len(), revision = state.revision, took = ?started.elapsed(), "loaded the cache");
        shared.set_compacted(state.compacted);
        shared.set_edge(state.edge);
        shared.cache.reset(objects, state.revision);
        shared.verified_at(started);
        Ok(Known { turn: state.turn, fence: state.fence, timeline: state.timeline, anchor, loaded: true })
    }

    async fn objects(&self, shared: &Arc<Shared>) -> Result<Vec<Obj>> {
        let rows = self.session.client.query_raw(sql::OBJECTS, std::iter::empty::<i64>()).await?;
        let mut chunks = std::pin::pin!(rows.ready_chunks(CHUNK));
        let mut parsing: JoinSet<Result<Vec<Obj>>> = JoinSet::new();
        let mut objects = Vec::new();
        let mut chunk = Vec::with_capacity(CHUNK);
        while let Some(rows) = chunks.next().await {
            for row in rows {
                chunk.push(row?);
            }
            if chunk.len() >= CHUNK {
                let rows = std::mem::take(&mut chunk);
                let shared = shared.clone();
                parsing.spawn_blocking(move || parse(&shared, &rows));
            }
            // Bounds what is in memory unparsed.
            while parsing.len() > 8 {
                collect(&mut parsing, &mut objects).await?;
            }
        }
        objects.extend(parse(shared, &chunk)?);
        while !parsing.is_empty() {
            collect(&mut parsing, &mut objects).await?;
        }
        Ok(objects)
    }
}

async fn collect(parsing: &mut JoinSet<Result<Vec<Obj>>>, objects: &mut Vec<Obj>) -> Result<()> {
    if let Some(parsed) = parsing.join_next().await {
        objects.extend(parsed.map_err(|error| Error::Internal(format!("parsing objects: {error}")))??);
    }
    Ok(())
}

fn parse(shared: &Shared, rows: &[Row]) -> Result<Vec<Obj>> {
    rows.iter()
        .map(|row| {
            let key = Key::new(row.try_get::<_, &str>(1)?, row.try_get::<_, &str>(2)?, row.try_get::<_, &str>(3)?);
            log::object(shared, key, unsigned(row.try_get(0)?), row.try_get(4)?)
        })
        .collect()
}
