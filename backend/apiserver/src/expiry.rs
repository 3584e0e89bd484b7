//! Events live for an hour, as upstream's. Any backend may do this; they find nothing left where another was faster.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use pilothouse_storage::{Error, Expect, Mutation, Store};
use tokio_util::sync::CancellationToken;
use tracing::debug;

const EVENTS: &str = "events";
const LIFE: SignedDuration = SignedDuration::from_secs(3600);
const EVERY: Duration = Duration::from_secs(60);
/// Events that one round deletes at most, in units of `UNIT`.
const PER_ROUND: usize = 10_000;
const USER: &str = "system:apiserver";

/// Deletes old events until `shutdown`.
pub async fn run(store: Store, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = shutdown.cancelled() => return,
        }
        if let Err(error) = round(&store, Timestamp::now()).await {
            debug!(%error, "old events were not deleted");
        }
    }
}

/// An event counts as old from its last change on: what still happens stays.
async fn round(store: &Store, now: Timestamp) -> Result<(), Error> {
    let Ok(then) = now.checked_sub(LIFE) else { return Ok(()) };
    let newest_old = match store.revision_at(then).await {
        Ok(revision) => revision,
        // Nothing so old is known.
        Err(Error::Compacted { .. }) => return Ok(()),
        Err(error) => return Err(error),
    };
    let view = store.view(EVENTS);
    for event in view.iter(None, None).filter(|event| event.revision <= newest_old).take(PER_ROUND) {
        let last = pilothouse_storage::encode(&event.value())?;
        let mutation = Mutation::delete(event.key.clone(), Expect::Revision(event.revision), last, USER).relaxed();
        match store.write(mutation).await {
            Ok(_) | Err(Error::NotFound | Error::Conflict { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
