//! Failed logins, counted per user and per address in a table of fixed size.
//!
//! Invariant: memory does not grow with the number of names or addresses tried. Two that share a slot share its count,
//! which only makes the limit stricter; slots are chosen with a random key, so nobody can aim at another's.

use std::hash::{BuildHasher, Hash, RandomState};
use std::net::IpAddr;

use jiff::Timestamp;
use parking_lot::Mutex;

const SLOTS: usize = 8192;
const WINDOW_SECONDS: i64 = 5 * 60;
/// Failures of one user in a window, from wherever.
const PER_USER: u32 = 10;
/// Failures from one address in a window, for whomever.
const PER_ADDRESS: u32 = 30;

#[derive(Clone, Copy, Default)]
struct Slot {
    window_start: i64,
    failures: u32,
}

pub(super) struct Limiter {
    key: RandomState,
    slots: Mutex<Box<[Slot]>>,
}

impl Default for Limiter {
    fn default() -> Self {
        Self { key: RandomState::new(), slots: Mutex::new(vec![Slot::default(); SLOTS].into()) }
    }
}

#[derive(Hash)]
enum Who<'a> {
    User(&'a str),
    /// IPv6 by its /64, which is what one customer gets.
    Address([u8; 8]),
}

fn network(address: IpAddr) -> [u8; 8] {
    let mut out = [0; 8];
    match address.to_canonical() {
        IpAddr::V4(v4) => out[..4].copy_from_slice(&v4.octets()),
        IpAddr::V6(v6) => out.copy_from_slice(&v6.octets()[..8]),
    }
    out
}

impl Limiter {
    fn watched(&self, user: &str, address: Option<IpAddr>) -> impl Iterator<Item = (usize, u32)> {
        let slot = |who: Who<'_>| (self.key.hash_one(who) as usize) % SLOTS;
        let address = address.map(|address| (slot(Who::Address(network(address))), PER_ADDRESS));
        [Some((slot(Who::User(user)), PER_USER)), address].into_iter().flatten()
    }

    /// For how many seconds logins are refused, if they are.
    pub(super) fn blocked(&self, user: &str, address: Option<IpAddr>, now: Timestamp) -> Option<u32> {
        let (slots, now) = (self.slots.lock(), now.as_second());
        let left = |(slot, limit): (usize, u32)| {
            let slot = slots[slot];
            let left = slot.window_start + WINDOW_SECONDS - now;
            (left > 0 && slot.failures >= limit).then(|| u32::try_from(left).unwrap_or(1))
        };
        self.watched(user, address).filter_map(left).max()
    }

    pub(super) fn failed(&self, user: &str, address: Option<IpAddr>, now: Timestamp) {
        let (mut slots, now) = (self.slots.lock(), now.as_second());
        for (index, _) in self.watched(user, address) {
            let slot = &mut slots[index];
            if now >= slot.window_start + WINDOW_SECONDS {
                *slot = Slot { window_start: now, failures: 0 };
            }
            slot.failures = slot.failures.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000_000 + second).unwrap()
    }

    #[test]
    fn a_user_is_blocked_for_the_rest_of_the_window() {
        let limiter = Limiter::default();
        for n in 0..PER_USER {
            assert_eq!(limiter.blocked("jane", None, at(i64::from(n))), None);
            limiter.failed("jane", None, at(i64::from(n)));
        }
        assert_eq!(limiter.blocked("jane", None, at(100)), Some(200));
        assert_eq!(limiter.blocked("jane", None, at(300)), None);
    }

    #[test]
    fn an_address_is_blocked_whichever_user_it_tries() {
        let limiter = Limiter::default();
        let (bad, other) = ("10.0.0.1".parse().ok(), "10.0.0.2".parse().ok());
        for n in 0..PER_ADDRESS {
            limiter.failed(&format!("user-{n}"), bad, at(0));
        }
        assert!(limiter.blocked("somebody", bad, at(1)).is_some());
        assert!(limiter.blocked("somebody", other, at(1)).is_none());
    }
}
