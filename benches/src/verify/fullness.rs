//! A full disk under PostgreSQL: writes are refused as something that will pass, reads go on, and all is well by itself
//! when there is room again.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use bytes::Bytes;
use http::Method;
use http::header::RETRY_AFTER;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::Message;
use super::arena::Arena;
use crate::client::Connection;
use crate::target::Target;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
/// Objects large enough that the tables need new pages soon.
const PAYLOAD: usize = 16 << 10;
/// Longer than a write may wait for PostgreSQL.
const ANSWER: Duration = Duration::from_secs(12);
/// PostgreSQL lives on what it had set aside for so long at most.
const UNTIL_FULL: Duration = Duration::from_secs(20);
const FULL: Duration = Duration::from_secs(3);
const UNTIL_HEALED: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(100);

/// Status of a write, and whether it says when to come back.
async fn write(target: &Target) -> Result<(u16, bool)> {
    let body = format!(
        "{{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{{\"generateName\":\"full-\"}},\"data\":{{\"x\":\"{}\"}}}}",
        crate::object::payload(PAYLOAD)
    );
    let asking = async {
        let mut connection = Connection::open(target).await?;
        let answer = connection.send(Method::POST, MAPS, body.into()).await?;
        Ok::<_, anyhow::Error>((answer.status().as_u16(), answer.headers().contains_key(RETRY_AFTER)))
    };
    timeout(ANSWER, asking).await?
}

async fn reads(target: &Target) -> Result<()> {
    let asking = async {
        let mut connection = Connection::open(target).await?;
        connection.expect(Method::GET, &format!("{MAPS}?resourceVersion=0&limit=5"), Bytes::new()).await
    };
    timeout(ANSWER, asking).await??;
    Ok(())
}

async fn wrong(judge: &mpsc::Sender<Message>, what: String) {
    let _ = judge.send(Message::Wrong(format!("disk full: {what}"))).await;
}

/// Fills the disk, looks at what clients get, makes room again, and waits for everybody to recover.
///
/// # Errors
/// When PostgreSQL had so much room set aside that nothing happened.
pub async fn fill(arena: &Arena, targets: &[Target], judge: &mpsc::Sender<Message>) -> Result<()> {
    let disk = arena.primary();
    let (begun, mut refused) = (Instant::now(), None::<Instant>);
    let mut at = 0;
    while refused.is_none_or(|since| since.elapsed() < FULL) && begun.elapsed() < UNTIL_FULL {
        // Whatever PostgreSQL gives up is taken at once.
        disk.fill().await;
        let target = &targets[at % targets.len()];
        at += 1;
        match write(target).await {
            Ok((status @ 500.., tells)) => {
                if refused.is_none() {
                    tracing::info!(after = ?begun.elapsed(), "the first write is refused");
                }
                refused.get_or_insert_with(Instant::now);
                if status != 503 || !tells {
                    wrong(judge, format!("a write is answered with {status}, Retry-After: {tells}")).await;
                }
                if let Err(error) = reads(target).await {
                    wrong(judge, format!("reads do not go on: {error:#}")).await;
                }
            }
            Ok(_) => {}
            Err(error) => wrong(judge, format!("a write is not answered: {error:#}")).await,
        }
        sleep(PAUSE).await;
    }
    disk.make_room();
    let since = Instant::now();
    for target in targets {
        while !matches!(write(target).await, Ok((200..300, _))) {
            if since.elapsed() > UNTIL_HEALED {
                wrong(judge, format!("{} has not healed {UNTIL_HEALED:?} after there was room again", target.name))
                    .await;
                break;
            }
            sleep(PAUSE).await;
        }
    }
    tracing::info!(refused = refused.is_some(), healed = ?since.elapsed(), "the disk was full");
    if refused.is_none() {
        bail!("PostgreSQL had enough room set aside");
    }
    Ok(())
}
