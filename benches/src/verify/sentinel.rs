//! A client that knows every backend and writes all the time, one write after the other: how long was it without?

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use http::{Method, StatusCode};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::faults::{Fault, Injected};
use crate::client::Connection;
use crate::target::Target;

/// Unanswered for so long, it tries the next backend.
const PATIENCE: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(10);
/// Shorter pauses between two acknowledged writes are no outage.
const NOTEWORTHY: Duration = Duration::from_millis(50);

/// From the last acknowledged write before to the first after.
pub type Gap = (Instant, Instant);

async fn attempt(connection: &mut Option<Connection>, target: &Target, path: &str, number: u64) -> Result<bool> {
    let open = match connection {
        Some(open) => open,
        None => connection.insert(Connection::open(target).await?),
    };
    let (collection, name) = path.rsplit_once('/').unwrap_or_default();
    let body = format!(
        "{{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{{\"name\":\"{name}\"}},\"data\":{{\"n\":\"{number}\"}}}}"
    );
    let (status, _) = open.call(Method::PUT, path, body.clone().into()).await?;
    if status == StatusCode::NOT_FOUND {
        return Ok(open.call(Method::POST, collection, body.into()).await?.0.is_success());
    }
    Ok(status.is_success())
}

async fn write(connection: &mut Option<Connection>, target: &Target, path: &str, number: u64) -> bool {
    matches!(timeout(PATIENCE, attempt(connection, target, path, number)).await, Ok(Ok(true)))
}

/// Writes until told to stop.
pub async fn run(targets: Vec<Target>, path: String, stop: CancellationToken) -> Vec<Gap> {
    let (mut gaps, mut last, mut connection) = (Vec::new(), Instant::now(), None);
    let (mut at, mut number) = (0, 0);
    while !stop.is_cancelled() {
        number += 1;
        if write(&mut connection, &targets[at % targets.len()], &path, number).await {
            let now = Instant::now();
            if now - last > NOTEWORTHY {
                gaps.push((last, now));
            }
            last = now;
        } else {
            connection = None;
            at += 1;
        }
        sleep(PAUSE).await;
    }
    gaps
}

/// For each kind of fault the longest times without an acknowledged write, sorted: from the fault to the next fault.
pub fn outages(injected: &[Injected], gaps: &[Gap]) -> BTreeMap<Fault, Vec<Duration>> {
    let mut outages: BTreeMap<Fault, Vec<Duration>> = BTreeMap::new();
    for (index, (fault, from, _)) in injected.iter().enumerate() {
        let to = injected.get(index + 1).map(|(_, next, _)| *next);
        let longest = gaps
            .iter()
            .filter(|(begun, ended)| ended > from && to.is_none_or(|to| *begun < to))
            .map(|(begun, ended)| *ended - (*begun).max(*from))
            .max();
        outages.entry(*fault).or_default().push(longest.unwrap_or_default());
    }
    outages.values_mut().for_each(|times| times.sort());
    outages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_counts_for_the_fault_it_follows() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let injected =
            [(Fault::KillServer, at(10), at(10)), (Fault::Stall, at(20), at(25)), (Fault::KillServer, at(40), at(40))];
        let gaps = [(at(9), at(12)), (at(21), at(26)), (at(27), at(28))];
        let outages = outages(&injected, &gaps);
        let seconds = |fault| outages[&fault].iter().map(Duration::as_secs).collect::<Vec<_>>();
        assert_eq!(seconds(Fault::KillServer), [0, 2], "counted from the fault on");
        assert_eq!(seconds(Fault::Stall), [5]);
    }
}
