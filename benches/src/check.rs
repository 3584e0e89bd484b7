//! Whether what was acknowledged is there.

use std::collections::HashMap;

use anyhow::Result;
use bytes::Bytes;
use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};

use crate::client::Connection;
use crate::target::Target;

/// What one client knows of the objects that it alone writes.
#[derive(Clone, Debug, Default)]
pub struct Written {
    objects: HashMap<String, State>,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    /// The newest write that was acknowledged; none after an acknowledged deletion.
    acknowledged: Option<u64>,
    /// A later write whose outcome nobody told.
    unknown: Option<u64>,
    unknown_deletion: bool,
}

impl Written {
    pub fn acknowledge(&mut self, name: &str, seq: u64) {
        self.objects.insert(name.to_owned(), State { acknowledged: Some(seq), ..State::default() });
    }

    /// Notes how a write went. 5xx leaves open whether it was done, as does a connection that broke.
    pub fn note(&mut self, name: &str, seq: u64, outcome: &Result<(StatusCode, u64)>) {
        match outcome {
            Ok((status, _)) if status.is_success() => self.acknowledge(name, seq),
            Ok((status, _)) if status.is_client_error() => {}
            _ => self.objects.entry(name.to_owned()).or_default().unknown = Some(seq),
        }
    }

    pub fn note_deleted(&mut self, name: &str, outcome: &Result<(StatusCode, u64)>) {
        match outcome {
            Ok((status, _)) if status.is_success() => {
                self.objects.insert(name.to_owned(), State::default());
            }
            Ok((status, _)) if status.is_client_error() => {}
            _ => self.objects.entry(name.to_owned()).or_default().unknown_deletion = true,
        }
    }
}

/// What the server has, against what it acknowledged.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Check {
    pub acknowledged: u64,
    /// Acknowledged, and not there.
    pub lost: u64,
    /// There in a state that is neither the last acknowledged one nor an unanswered later one.
    pub wrong: u64,
    /// There, though nobody wrote it, or deleted.
    pub surplus: u64,
    /// Writes that were never answered: both outcomes are right.
    pub unknown: u64,
}

#[derive(Deserialize)]
struct List {
    metadata: ListMeta,
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct ListMeta {
    #[serde(default)]
    r#continue: String,
}

#[derive(Deserialize)]
struct Item {
    metadata: ItemMeta,
    #[serde(default)]
    data: Data,
}

#[derive(Deserialize)]
struct ItemMeta {
    name: String,
}

#[derive(Deserialize, Default)]
struct Data {
    #[serde(default)]
    seq: String,
}

/// Every object of the collection with the number of its last write.
async fn state(target: &Target, collection: &str) -> Result<HashMap<String, u64>> {
    let mut connection = Connection::open(target).await?;
    let (mut found, mut from) = (HashMap::new(), String::new());
    loop {
        let path = format!("{collection}?limit=500&continue={from}");
        let list: List = serde_json::from_slice(&connection.expect(Method::GET, &path, Bytes::new()).await?)?;
        found.extend(list.items.into_iter().map(|item| (item.metadata.name, item.data.seq.parse().unwrap_or(0))));
        if list.metadata.r#continue.is_empty() {
            return Ok(found);
        }
        from = list.metadata.r#continue;
    }
}

impl Check {
    /// Compares the collection with what its writers know.
    ///
    /// # Errors
    /// When it cannot be listed.
    pub async fn run(target: &Target, collection: &str, written: Vec<Written>) -> Result<Self> {
        let known = written.into_iter().flat_map(|written| written.objects).collect();
        let mut found = state(target, collection).await?;
        // Every namespace gets the cluster's root certificates by itself.
        found.remove("kube-root-ca.crt");
        Ok(Self::compare(&known, &found))
    }

    fn compare(known: &HashMap<String, State>, found: &HashMap<String, u64>) -> Self {
        let mut check = Self::default();
        for (name, state) in known {
            check.acknowledged += u64::from(state.acknowledged.is_some());
            check.unknown += u64::from(state.unknown.is_some() || state.unknown_deletion);
            match (found.get(name), state.acknowledged) {
                (None, Some(_)) if !state.unknown_deletion => check.lost += 1,
                (None, _) => {}
                (Some(seq), acknowledged) if Some(*seq) == acknowledged || Some(*seq) == state.unknown => {}
                (Some(_), None) if state.unknown.is_none() => check.surplus += 1,
                (Some(_), _) => check.wrong += 1,
            }
        }
        check.surplus += found.keys().filter(|name| !known.contains_key(*name)).count() as u64;
        check
    }

    pub fn is_sound(&self) -> bool {
        self.lost == 0 && self.wrong == 0 && self.surplus == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(code: u16) -> Result<(StatusCode, u64)> {
        Ok((StatusCode::from_u16(code).unwrap(), 0))
    }

    #[test]
    fn finds_what_is_lost_wrong_or_surplus() {
        let mut written = Written::default();
        for (name, seq, code) in
            [("kept", 1, 201), ("kept", 2, 200), ("lost", 1, 201), ("old", 1, 201), ("old", 2, 200)]
        {
            written.note(name, seq, &outcome(code));
        }
        written.note("refused", 1, &outcome(409));
        written.note("kept", 3, &outcome(503));
        written.note("maybe", 1, &Err(anyhow::anyhow!("cut")));
        written.note("gone", 1, &outcome(201));
        written.note_deleted("gone", &outcome(200));
        written.note("stays", 1, &outcome(201));
        written.note_deleted("stays", &outcome(200));
        let found = |all: &[(&str, u64)]| all.iter().map(|(name, seq)| ((*name).to_owned(), *seq)).collect();
        let check = Check::compare(&written.objects, &found(&[("kept", 3), ("old", 1), ("stays", 1), ("stranger", 1)]));
        assert_eq!((check.lost, check.wrong, check.surplus, check.unknown), (1, 1, 2, 2), "{check:?}");
        let sound = Check::compare(&written.objects, &found(&[("kept", 2), ("lost", 1), ("old", 2), ("maybe", 1)]));
        assert!(sound.is_sound(), "{sound:?}");
    }
}
