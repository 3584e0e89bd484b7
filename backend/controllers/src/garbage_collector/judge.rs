//! Whether an object may stay, given its owners. Pure.

use kube::api::PropagationPolicy;

use super::graph::{FOREGROUND, Metadata, ORPHAN, Reference};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    Here,
    /// Being deleted in the foreground: its dependents go first.
    Waits,
    Absent,
    /// It cannot be told; counts as there.
    Unknown,
}

#[derive(Debug)]
pub enum Verdict {
    Keep,
    /// One owner at least is there: references to the others go; these stay.
    DropReferences(Vec<Reference>),
    Delete(PropagationPolicy),
}

pub fn judge(owners: &[(Reference, Owner)], has_dependents: bool, object: &Metadata) -> Verdict {
    let solid = |o: &Owner| matches!(o, Owner::Here | Owner::Unknown);
    if owners.iter().any(|(_, o)| solid(o)) {
        let rest: Vec<Reference> = owners.iter().filter(|(_, o)| solid(o)).map(|(r, _)| r.clone()).collect();
        return if rest.len() == owners.len() { Verdict::Keep } else { Verdict::DropReferences(rest) };
    }
    if owners.is_empty() {
        return Verdict::Keep;
    }
    // An owner that waits for this object also waits for what this object waits for.
    if has_dependents && owners.iter().any(|(_, o)| *o == Owner::Waits) {
        return Verdict::Delete(PropagationPolicy::Foreground);
    }
    Verdict::Delete(if object.has_finalizer(ORPHAN) {
        PropagationPolicy::Orphan
    } else if object.has_finalizer(FOREGROUND) {
        PropagationPolicy::Foreground
    } else {
        PropagationPolicy::Background
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts() {
        use Owner::{Absent, Here, Unknown, Waits};
        let plain = Metadata::default();
        let orphaning = Metadata { finalizers: Some(vec![ORPHAN.into()]), ..Default::default() };
        for (owners, dependents, object, expect) in [
            (vec![], false, &plain, "Keep"),
            (vec![Here], true, &plain, "Keep"),
            (vec![Unknown], false, &plain, "Keep"),
            (vec![Here, Absent], false, &plain, "drop 1"),
            (vec![Here, Waits, Unknown], true, &plain, "drop 2"),
            (vec![Absent], true, &plain, "Background"),
            (vec![Absent, Absent], false, &orphaning, "Orphan"),
            (vec![Waits], true, &plain, "Foreground"),
            (vec![Waits], false, &plain, "Background"),
            (vec![Waits, Absent], true, &plain, "Foreground"),
        ] {
            let owners: Vec<(Reference, Owner)> = owners.into_iter().map(|o| (Reference::default(), o)).collect();
            let got = match judge(&owners, dependents, object) {
                Verdict::Keep => "Keep".into(),
                Verdict::DropReferences(rest) => format!("drop {}", rest.len()),
                Verdict::Delete(policy) => format!("{policy:?}"),
            };
            assert_eq!(got, expect, "{owners:?}");
        }
    }
}
