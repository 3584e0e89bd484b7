//! Leader election on the Lease `kube-system/pilothouse-leader`.
//!
//! Invariants:
//! - Work runs only while this process holds the Lease: it is told to stop when a renewal has not succeeded for
//!   `RENEW_DEADLINE`, which is less than the time after which others may take over.
//! - Others' clocks are not trusted: a holder counts as dead when its record has not changed for the lease's
//!   duration by our own monotonic clock.
//! - A clean stop waits for the work to end, then clears the holder, and a follower that watches takes over at once.

use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

pub const NAMESPACE: &str = "kube-system";
pub const NAME: &str = "pilothouse-leader";

const LEASE_DURATION: Duration = Duration::from_secs(15);
const RENEW_DEADLINE: Duration = Duration::from_secs(10);
const RETRY_PERIOD: Duration = Duration::from_secs(2);
/// How long a stop waits for the work to end before the Lease is given back anyway.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// What a follower knows of the Lease, and since when (by our clock) it has been so.
#[derive(Debug)]
struct Observed {
    lease: Option<Lease>,
    since: Instant,
}

impl Observed {
    fn new(now: Instant) -> Self {
        Self { lease: None, since: now }
    }

    fn see(&mut self, lease: Option<Lease>, now: Instant) {
        let record = |l: &Option<Lease>| l.as_ref().map(|l| l.spec.clone());
        if record(&self.lease) != record(&lease) {
            self.since = now;
        }
        self.lease = lease;
    }

    /// When this process may try to take the Lease.
    fn free_at(&self, identity: &str) -> Instant {
        let Some(spec) = self.lease.as_ref().and_then(|l| l.spec.as_ref()) else { return self.since };
        match spec.holder_identity.as_deref() {
            None | Some("") => self.since,
            Some(holder) if holder == identity => self.since,
            Some(_) => {
                let seconds = spec.lease_duration_seconds.unwrap_or(15).clamp(1, 3600);
                self.since + Duration::from_secs(seconds.unsigned_abs().into())
            }
        }
    }
}

/// The record with which `identity` takes or renews the Lease.
fn claim(current: Option<&Lease>, identity: &str, now: Timestamp) -> Lease {
    let old = current.and_then(|l| l.spec.clone()).unwrap_or_default();
    let kept = old.holder_identity.as_deref() == Some(identity);
    let transitions = old.lease_transitions.unwrap_or(0);
    Lease {
        metadata: match current {
            Some(l) => l.metadata.clone(),
            None => ObjectMeta { name: Some(NAME.into()), namespace: Some(NAMESPACE.into()), ..Default::default() },
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(identity.to_owned()),
            lease_duration_seconds: Some(i32::try_from(LEASE_DURATION.as_secs()).unwrap_or(15)),
            acquire_time: if kept { old.acquire_time } else { Some(MicroTime(now)) },
            renew_time: Some(MicroTime(now)),
            lease_transitions: Some(if kept || current.is_none() { transitions } else { transitions + 1 }),
            ..old
        }),
    }
}

/// Takes part in the election until `shutdown`. Each time this process becomes the leader `on_lead` runs; its token
/// is cancelled when the leadership ends, and the next election waits until it has returned.
/// Boxed: an `async fn` is compiled where it is first polled, and that should be this crate.
pub fn elect(
    client: Client,
    identity: String,
    on_lead: impl Fn(CancellationToken) -> BoxFuture<'static, ()> + Send + Sync + 'static,
    shutdown: CancellationToken,
) -> BoxFuture<'static, ()> {
    elect_on(client, identity, Box::new(on_lead), shutdown).boxed()
}

/// What the leader does.
type OnLead = Box<dyn Fn(CancellationToken) -> BoxFuture<'static, ()> + Send + Sync>;

async fn elect_on(client: Client, identity: String, on_lead: OnLead, shutdown: CancellationToken) {
    let api: Api<Lease> = Api::namespaced(client, NAMESPACE);
    while !shutdown.is_cancelled() {
        let Some(mut lease) = follow(&api, &identity, &shutdown).await else { return };
        tracing::info!(%identity, "became the leader");
        let stop = shutdown.child_token();
        let mut work = tokio::spawn(on_lead(stop.clone()));
        let ended = lead(&api, &identity, &mut lease, &mut work, &shutdown).await;
        stop.cancel();
        match ended {
            Ended::Work => tracing::warn!("the leader's work ended by itself; standing for election again"),
            Ended::Shutdown | Ended::Lost => {
                if timeout(STOP_GRACE, &mut work).await.is_err() {
                    tracing::warn!("the leader's work did not stop in time; aborting it");
                    work.abort();
                }
            }
        }
        match ended {
            Ended::Lost => tracing::warn!(%identity, "lost the leadership"),
            Ended::Work | Ended::Shutdown => release(&api, &identity, lease).await,
        }
        if matches!(ended, Ended::Work) {
            tokio::select! { () = tokio::time::sleep(RETRY_PERIOD) => {}, () = shutdown.cancelled() => {} }
        }
    }
}

#[derive(Clone, Copy)]
enum Ended {
    Shutdown,
    Lost,
    Work,
}

/// Waits until the Lease could be taken and takes it; none when shut down.
async fn follow(api: &Api<Lease>, identity: &str, shutdown: &CancellationToken) -> Option<Lease> {
    let config = watcher::Config::default().fields(&format!("metadata.name={NAME}"));
    let mut events = watcher::watcher(api.clone(), config).default_backoff().boxed();
    let mut observed = Observed::new(Instant::now());
    // The watch may be slow to begin; the first try does not wait for it.
    let mut next_try = Instant::now();
    // A new cluster takes a moment until the Lease may be written.
    let mut pause = Duration::from_millis(50);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return None,
            event = events.try_next() => {
                match event {
                    Ok(Some(watcher::Event::Apply(l) | watcher::Event::InitApply(l))) => observed.see(Some(l), Instant::now()),
                    Ok(Some(watcher::Event::Delete(_))) => observed.see(None, Instant::now()),
                    Ok(Some(_)) => continue,
                    // The watch only makes it faster; tries go on without it.
                    Ok(None) | Err(_) => continue,
                }
                next_try = observed.free_at(identity);
            }
            () = sleep_until(next_try) => {
                match attempt(api, identity, &mut observed).await {
                    Ok(Some(lease)) => return Some(lease),
                    Ok(None) => next_try = observed.free_at(identity).max(Instant::now() + Duration::from_millis(100)),
                    Err(error) => {
                        tracing::debug!(%error, "the leader's Lease could not be taken");
                        next_try = Instant::now() + pause;
                        pause = (pause * 2).min(RETRY_PERIOD);
                    }
                }
            }
        }
    }
}

/// One try at an unheld or expired Lease.
async fn attempt(api: &Api<Lease>, identity: &str, observed: &mut Observed) -> kube::Result<Option<Lease>> {
    let current = api.get_opt(NAME).await?;
    let now = Instant::now();
    observed.see(current, now);
    if observed.free_at(identity) > now {
        return Ok(None);
    }
    let wanted = claim(observed.lease.as_ref(), identity, Timestamp::now());
    let taken = if observed.lease.is_some() {
        api.replace(NAME, &PostParams::default(), &wanted).await
    } else {
        api.create(&PostParams::default(), &wanted).await
    };
    match taken {
        Ok(lease) => Ok(Some(lease)),
        // Somebody else was faster.
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(None),
        Err(error) => Err(error),
    }
}

/// Renews the Lease until it is lost, the work ends or the process stops.
async fn lead(
    api: &Api<Lease>,
    identity: &str,
    lease: &mut Lease,
    work: &mut tokio::task::JoinHandle<()>,
    shutdown: &CancellationToken,
) -> Ended {
    let mut renewed = Instant::now();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return Ended::Shutdown,
            _ = &mut *work => return Ended::Work,
            () = tokio::time::sleep(RETRY_PERIOD) => {}
        }
        let left = (renewed + RENEW_DEADLINE).saturating_duration_since(Instant::now());
        match timeout(left, renew(api, identity, lease)).await {
            Ok(Ok(true)) => renewed = Instant::now(),
            Ok(Ok(false)) => return Ended::Lost,
            Ok(Err(error)) => tracing::warn!(%error, "the leader's Lease could not be renewed"),
            Err(_) => return Ended::Lost,
        }
        if renewed.elapsed() >= RENEW_DEADLINE {
            return Ended::Lost;
        }
    }
}

/// False when another process holds the Lease.
async fn renew(api: &Api<Lease>, identity: &str, lease: &mut Lease) -> kube::Result<bool> {
    match api.replace(NAME, &PostParams::default(), &claim(Some(lease), identity, Timestamp::now())).await {
        Ok(new) => *lease = new,
        Err(kube::Error::Api(status)) if status.code == 409 || status.code == 404 => {
            let Some(current) = api.get_opt(NAME).await? else { return Ok(false) };
            if current.spec.as_ref().and_then(|s| s.holder_identity.as_deref()) != Some(identity) {
                return Ok(false);
            }
            *lease =
                api.replace(NAME, &PostParams::default(), &claim(Some(&current), identity, Timestamp::now())).await?;
        }
        Err(error) => return Err(error),
    }
    Ok(true)
}

/// Clears the holder so that a follower need not wait for the expiry.
async fn release(api: &Api<Lease>, identity: &str, mut lease: Lease) {
    if let Some(spec) = lease.spec.as_mut() {
        spec.holder_identity = None;
        spec.lease_duration_seconds = Some(1);
        spec.renew_time = Some(MicroTime(Timestamp::now()));
    }
    if let Err(error) = api.replace(NAME, &PostParams::default(), &lease).await {
        tracing::warn!(%identity, %error, "the leader's Lease could not be released");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(by: &str) -> Lease {
        claim(None, by, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn a_holder_is_dead_only_after_its_record_stood_still() {
        let start = Instant::now();
        let mut seen = Observed::new(start);
        assert_eq!(seen.free_at("a"), start, "no Lease: free at once");
        seen.see(Some(held("b")), start);
        assert_eq!(seen.free_at("a"), start + LEASE_DURATION);
        let later = start + Duration::from_secs(9);
        seen.see(Some(claim(Some(&held("b")), "b", Timestamp::UNIX_EPOCH + Duration::from_secs(9))), later);
        assert_eq!(seen.free_at("a"), later + LEASE_DURATION, "a renewal starts the clock anew");
        assert_eq!(seen.free_at("b"), later, "our own record does not lock us out");
    }

    #[test]
    fn a_released_lease_is_free_at_once() {
        let start = Instant::now();
        let mut seen = Observed::new(start);
        let mut lease = held("b");
        lease.spec.as_mut().unwrap().holder_identity = None;
        seen.see(Some(lease), start);
        assert_eq!(seen.free_at("a"), start);
    }

    #[test]
    fn transitions_count_changes_of_holder() {
        let first = held("a");
        assert_eq!(first.spec.as_ref().unwrap().lease_transitions, Some(0));
        let same = claim(Some(&first), "a", Timestamp::UNIX_EPOCH);
        assert_eq!(same.spec.as_ref().unwrap().lease_transitions, Some(0));
        let other = claim(Some(&same), "b", Timestamp::UNIX_EPOCH + Duration::from_secs(1));
        assert_eq!(other.spec.as_ref().unwrap().lease_transitions, Some(1));
        assert_ne!(other.spec.unwrap().acquire_time, same.spec.unwrap().acquire_time);
    }
}
