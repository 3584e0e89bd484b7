//! The state of the connection, over all subscriptions of the page: what the user may believe of what is shown.

use std::collections::BTreeMap;

use leptos::prelude::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    Connecting,
    Live,
    /// Lost; the next attempt is scheduled.
    Waiting,
}

#[derive(Clone, Copy)]
pub struct Links {
    links: RwSignal<BTreeMap<u32, Link>>,
    /// Milliseconds since 1970 at which each subscription last heard from the server.
    heard: StoredValue<BTreeMap<u32, f64>>,
    next: StoredValue<u32>,
    wake: StoredValue<u32>,
    /// What the server said while it could not serve.
    pub said: RwSignal<String>,
}

/// The word for the whole page.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Connection {
    Idle,
    Connecting,
    Live,
    /// Since this time (milliseconds) the oldest shown data was not renewed.
    Lost {
        since: f64,
    },
}

fn now() -> f64 {
    js_sys::Date::now()
}

impl Links {
    pub fn new() -> Self {
        Self {
            links: RwSignal::new(BTreeMap::new()),
            heard: StoredValue::new(BTreeMap::new()),
            next: StoredValue::new(0),
            wake: StoredValue::new(0),
            said: RwSignal::new(String::new()),
        }
    }

    pub fn add(&self) -> u32 {
        let id = self.next.get_value() + 1;
        self.next.set_value(id);
        self.links.update(|links| {
            links.insert(id, Link::Connecting);
        });
        id
    }

    pub fn remove(&self, id: u32) {
        self.heard.update_value(|heard| {
            heard.remove(&id);
        });
        self.links.update(|links| {
            links.remove(&id);
        });
    }

    pub fn set(&self, id: u32, link: Link) {
        if link == Link::Live {
            self.heard(id);
        }
        // One that gets through after a loss tells the others not to wait longer.
        if link == Link::Live && self.links.with_untracked(|links| links.get(&id) == Some(&Link::Waiting)) {
            self.wake();
        }
        if self.links.with_untracked(|links| links.get(&id).is_some_and(|known| *known != link)) {
            self.links.update(|links| {
                links.insert(id, link);
            });
        }
    }

    pub fn heard(&self, id: u32) {
        self.heard.update_value(|heard| {
            heard.insert(id, now());
        });
    }

    pub fn say(&self, message: String) {
        self.said.set(message);
    }

    /// Ends all waiting.
    pub fn wake(&self) {
        self.wake.update_value(|count| *count += 1);
    }

    pub fn wake_count(&self) -> u32 {
        self.wake.get_value()
    }

    pub fn connection(&self) -> Connection {
        self.links.with(|links| {
            let lost: Vec<u32> = links.iter().filter(|(_, link)| **link == Link::Waiting).map(|(id, _)| *id).collect();
            if !lost.is_empty() {
                let since = self
                    .heard
                    .with_value(|heard| lost.iter().filter_map(|id| heard.get(id).copied()).fold(now(), f64::min));
                return Connection::Lost { since };
            }
            match () {
                () if links.is_empty() => Connection::Idle,
                () if links.values().any(|link| *link == Link::Connecting) => Connection::Connecting,
                () => Connection::Live,
            }
        })
    }
}
