//! The life of one subscription as a pure state machine: list in pages, watch from there, resume after a
//! disconnect, list again when the server no longer knows the revision, back off while it does not answer.
//!
//! The longest wait is short, because a page that someone looks at should heal at once; the first subscription that
//! gets through wakes the others.
//!
//! Invariants: a watch always starts at a revision that was seen; after a fault the next attempt is never immediate
//! unless the stream had been healthy; only a refusal (4xx) that waiting cannot cure ends the subscription.

/// Waiting times in milliseconds: doubled from the first to the last, plus up to a quarter of jitter.
const FIRST_WAIT: u32 = 250;
const LAST_WAIT: u32 = 2_000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Pages of a list are arriving; `token` continues it.
    Listing {
        token: Option<String>,
        attempt: u32,
    },
    Watching {
        revision: String,
        attempt: u32,
    },
    /// Disconnected; goes on at `revision`, or with a list where there is none.
    Waiting {
        revision: Option<String>,
        attempt: u32,
    },
    Stopped,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    Start,
    /// A page of the list arrived.
    Page {
        revision: String,
        token: Option<String>,
    },
    /// An event or bookmark arrived that moves the stream to this revision.
    Progress {
        revision: String,
    },
    /// The server ended the watch in order (its timeout): go on where it was.
    Ended,
    /// 410: the revision or the continue token is too old.
    Expired,
    /// No answer, or one that may be different next time (network, 429, 5xx).
    Fault,
    /// A refusal that stays: unauthorized, forbidden, not found.
    Refused,
    WaitIsOver,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// `first`: the start of a list, after which unseen objects are gone.
    List {
        token: Option<String>,
        first: bool,
    },
    Watch {
        revision: String,
    },
    /// Milliseconds, jitter included.
    Wait(u32),
    /// The list is complete: drop what it did not contain.
    ListedThenWatch {
        revision: String,
    },
    Continue,
    Stop,
}

/// How long to wait before attempt number `attempt` (from 0). `jitter` is in 0..=255.
pub fn wait(attempt: u32, jitter: u8) -> u32 {
    let base = FIRST_WAIT.saturating_mul(1 << attempt.min(10)).min(LAST_WAIT);
    base + base / 4 * u32::from(jitter) / 255
}

pub fn step(state: State, input: Input, jitter: u8) -> (State, Action) {
    use {Action as A, Input as I, State as S};
    let relist = |attempt| (S::Listing { token: None, attempt }, A::List { token: None, first: true });
    match (state, input) {
        (S::Stopped, I::Start) | (_, I::Start) => relist(0),
        (S::Stopped, _) => (S::Stopped, A::Stop),
        (_, I::Refused) => (S::Stopped, A::Stop),
        (S::Listing { .. }, I::Page { token: Some(token), .. }) => {
            let token = Some(token);
            (S::Listing { token: token.clone(), attempt: 0 }, A::List { token, first: false })
        }
        (S::Listing { .. }, I::Page { revision, token: None }) => {
            (S::Watching { revision: revision.clone(), attempt: 0 }, A::ListedThenWatch { revision })
        }
        // An expired token of a long list: start over at once, but not for ever.
        (S::Listing { attempt, .. }, I::Expired) if attempt < 2 => relist(attempt + 1),
        (S::Listing { attempt, .. }, _) => {
            (S::Waiting { revision: None, attempt: attempt + 1 }, A::Wait(wait(attempt, jitter)))
        }
        (S::Watching { .. }, I::Progress { revision }) => (S::Watching { revision, attempt: 0 }, A::Continue),
        (S::Watching { attempt, .. }, I::Expired) => {
            if attempt == 0 {
                relist(1)
            } else {
                (S::Waiting { revision: None, attempt: attempt + 1 }, A::Wait(wait(attempt, jitter)))
            }
        }
        // A stream that said nothing before it ended counts as an attempt, so that a server which closes at once is not hammered.
        (S::Watching { revision, attempt: 0 }, I::Ended) => {
            (S::Watching { revision: revision.clone(), attempt: 1 }, A::Watch { revision })
        }
        (S::Watching { revision, attempt }, I::Ended | I::Fault) => {
            (S::Waiting { revision: Some(revision), attempt: attempt + 1 }, A::Wait(wait(attempt, jitter)))
        }
        (S::Watching { revision, attempt }, _) => (S::Watching { revision, attempt }, A::Continue),
        (S::Waiting { revision: Some(revision), attempt }, I::WaitIsOver) => {
            (S::Watching { revision: revision.clone(), attempt }, A::Watch { revision })
        }
        (S::Waiting { revision: None, attempt }, I::WaitIsOver) => relist(attempt),
        (waiting, _) => (waiting, A::Continue),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(inputs: Vec<Input>) -> (State, Vec<Action>) {
        let mut state = State::Stopped;
        let mut actions = Vec::new();
        for input in inputs {
            let (next, action) = step(state, input, 0);
            state = next;
            actions.push(action);
        }
        (state, actions)
    }
    fn page(revision: &str, token: Option<&str>) -> Input {
        Input::Page { revision: revision.into(), token: token.map(Into::into) }
    }
    fn progress(revision: &str) -> Input {
        Input::Progress { revision: revision.into() }
    }
    fn watch(revision: &str) -> Action {
        Action::Watch { revision: revision.into() }
    }

    #[test]
    fn lists_in_pages_then_watches() {
        let (state, actions) = run(vec![Input::Start, page("7", Some("t")), page("7", None), progress("9")]);
        assert_eq!(actions[0], Action::List { token: None, first: true });
        assert_eq!(actions[1], Action::List { token: Some("t".into()), first: false });
        assert_eq!(actions[2], Action::ListedThenWatch { revision: "7".into() });
        assert_eq!(state, State::Watching { revision: "9".into(), attempt: 0 });
    }

    #[test]
    fn resumes_at_the_last_revision_after_a_fault() {
        let (_, actions) = run(vec![Input::Start, page("7", None), progress("9"), Input::Fault, Input::WaitIsOver]);
        assert_eq!(actions[3..], [Action::Wait(250), watch("9")]);
    }

    #[test]
    fn an_orderly_end_is_resumed_at_once_but_only_when_the_stream_had_lived() {
        let (_, actions) = run(vec![Input::Start, page("7", None), Input::Ended, Input::Ended, Input::WaitIsOver]);
        assert_eq!(actions[2..], [watch("7"), Action::Wait(500), watch("7")]);
    }

    #[test]
    fn lists_again_when_the_revision_is_gone() {
        let (_, actions) = run(vec![Input::Start, page("7", None), Input::Expired]);
        assert_eq!(actions[2], Action::List { token: None, first: true });
        let (_, actions) = run(vec![Input::Start, page("7", Some("t")), Input::Expired]);
        assert_eq!(actions[2], Action::List { token: None, first: true });
    }

    #[test]
    fn waits_longer_with_each_fault_and_never_spins() {
        let mut state = step(State::Stopped, Input::Start, 0).0;
        let mut waits = Vec::new();
        for _ in 0..10 {
            let (waiting, action) = step(state, Input::Fault, 255);
            let Action::Wait(time) = action else { panic!("{action:?} instead of a wait") };
            waits.push(time);
            state = step(waiting, Input::WaitIsOver, 255).0;
        }
        assert!(waits.windows(2).all(|pair| pair[0] <= pair[1]));
        assert!(waits[0] >= FIRST_WAIT && *waits.last().unwrap() <= LAST_WAIT + LAST_WAIT / 4);
    }

    #[test]
    fn a_refusal_stops_and_a_start_begins_anew() {
        let (state, actions) = run(vec![Input::Start, Input::Refused, Input::WaitIsOver, Input::Start]);
        assert_eq!(actions[1..3], [Action::Stop, Action::Stop]);
        assert_eq!(state, State::Listing { token: None, attempt: 0 });
    }
}
