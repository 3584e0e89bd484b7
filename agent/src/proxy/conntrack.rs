//! Makes the kernel forget UDP flows that lead to endpoints that are gone.
//!
//! The kernel remembers where the first packet of a flow went, and UDP has no end: without this, a client that keeps
//! its port would talk to a dead pod, or to nobody if it began before the Service was there.
//!
//! Invariant: only flows to what the table serves are looked at; all others are none of our business.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::Ipv4Addr;

use tokio::process::Command;

use super::rules::{Front, Model};

/// Flows that differ only in the client: to whom they were sent, and who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Flow {
    to: (Ipv4Addr, u16),
    answers: (Ipv4Addr, u16),
}

/// One line of `conntrack -L`: the flow's first direction, then the answer's, each `src= dst= sport= dport=`.
fn parse(line: &str) -> Option<Flow> {
    let all = |key: &str| -> Vec<&str> {
        line.split_whitespace().filter_map(|word| word.strip_prefix(key)?.strip_prefix('=')).collect()
    };
    let (sources, targets, from, to) = (all("src"), all("dst"), all("sport"), all("dport"));
    Some(Flow {
        to: (targets.first()?.parse().ok()?, to.first()?.parse().ok()?),
        answers: (sources.get(1)?.parse().ok()?, from.get(1)?.parse().ok()?),
    })
}

/// The flows that go where they no longer should.
fn stale(listing: &str, udp: &BTreeMap<Front, BTreeSet<(Ipv4Addr, u16)>>) -> BTreeSet<Flow> {
    let gone = |flow: &Flow| {
        let (address, port) = flow.to;
        let targets = udp.get(&Front::Address(address, port)).or_else(|| udp.get(&Front::Port(port)));
        targets.is_some_and(|targets| !targets.contains(&flow.answers))
    };
    listing.lines().filter_map(parse).filter(gone).collect()
}

async fn conntrack(arguments: &[&str]) -> io::Result<String> {
    let output = Command::new("conntrack").args(arguments).output().await?;
    let said = String::from_utf8_lossy(&output.stderr);
    // It counts finding nothing as a failure.
    if output.status.success() || said.contains("0 flow entries") {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(io::Error::other(said.trim().to_owned()))
}

/// # Errors
/// What the tool said.
pub async fn forget_stale(model: &Model) -> io::Result<()> {
    if model.udp.is_empty() {
        return Ok(());
    }
    let listing = conntrack(&["-L", "-p", "udp", "-f", "ipv4"]).await?;
    for flow in stale(&listing, &model.udp) {
        let (to, port) = (flow.to.0.to_string(), flow.to.1.to_string());
        let (answers, from) = (flow.answers.0.to_string(), flow.answers.1.to_string());
        let ends = ["--orig-dst", &to, "--orig-port-dst", &port, "--reply-src", &answers, "--reply-port-src", &from];
        conntrack(&[["-D", "-p", "udp"].as_slice(), &ends].concat()).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTING: &str = "\
udp      17 27 src=10.244.0.9 dst=10.96.0.20 sport=4242 dport=53 [UNREPLIED] src=10.244.0.2 dst=10.244.0.9 sport=8053 dport=4242 mark=0 use=1
udp      17 27 src=10.244.0.8 dst=10.96.0.20 sport=4242 dport=53 src=10.244.0.3 dst=10.244.0.8 sport=8053 dport=4242 [ASSURED] mark=0 use=1
udp      17 27 src=10.244.0.7 dst=10.96.0.20 sport=4242 dport=53 src=10.96.0.20 dst=10.244.0.7 sport=53 dport=4242 mark=0 use=1
udp      17 27 src=10.244.0.7 dst=10.96.0.20 sport=4243 dport=53 src=10.96.0.20 dst=10.244.0.7 sport=53 dport=4243 mark=0 use=1
udp      17 27 src=10.244.0.7 dst=9.9.9.9 sport=4242 dport=53 src=9.9.9.9 dst=10.89.0.2 sport=53 dport=4242 mark=0 use=1
udp      17 27 src=192.0.2.1 dst=10.89.0.2 sport=4242 dport=30053 src=10.244.0.2 dst=192.0.2.1 sport=8053 dport=4242 mark=0 use=1
nonsense";

    #[test]
    fn only_flows_to_what_is_gone_are_stale() {
        let ip = |text: &str| text.parse::<Ipv4Addr>().unwrap();
        let targets = BTreeSet::from([(ip("10.244.0.3"), 8053)]);
        let udp =
            BTreeMap::from([(Front::Address(ip("10.96.0.20"), 53), targets.clone()), (Front::Port(30053), targets)]);
        let found = stale(LISTING, &udp);
        let answers: Vec<_> = found.iter().map(|flow| (flow.to.1, flow.answers.0.to_string())).collect();
        let want = [(30053, "10.244.0.2"), (53, "10.96.0.20"), (53, "10.244.0.2")];
        assert_eq!(answers.len(), want.len(), "{answers:?}");
        for (port, who) in want {
            assert!(answers.contains(&(port, who.to_owned())), "{answers:?}");
        }
        assert!(stale(LISTING, &BTreeMap::new()).is_empty());
    }
}
