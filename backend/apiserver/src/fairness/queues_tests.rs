use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const SHAPE: Shape = Shape { queues: 8, hand: 3, length: 5 };

fn hand(hash: u64, deck: usize, hand: usize) -> Vec<usize> {
    let mut cards = Vec::new();
    deal(hash, deck, hand, |card| cards.push(card));
    cards
}

#[test]
fn a_reject_level_refuses_what_does_not_fit() {
    let mut set: QueueSet<u32> = QueueSet::new(Shape::NONE, 2, 0.0);
    let Arrival::Run(first) = set.arrive(0.0, 1, 1, || 0) else { panic!("there is room") };
    assert!(matches!(set.arrive(0.0, 1, 1, || 0), Arrival::Run(_)));
    assert!(matches!(set.arrive(0.0, 1, 1, || 0), Arrival::Refused(Refusal::ConcurrencyLimit)));
    assert!(set.finish(1.0, first).is_empty());
    assert!(matches!(set.arrive(1.0, 1, 1, || 0), Arrival::Run(_)));
}

#[test]
fn a_flood_does_not_keep_a_trickle_waiting() {
    let mut set = QueueSet::new(Shape { queues: 64, hand: 1, length: 50 }, 1, 0.0);
    let (noisy, quiet) = (1u64, 2u64);
    let Arrival::Run(mut seat) = set.arrive(0.0, noisy, 1, || "noisy") else { panic!("there is room") };
    for _ in 0..50 {
        assert!(matches!(set.arrive(0.0, noisy, 1, || "noisy"), Arrival::Wait(..)));
    }
    assert!(matches!(set.arrive(0.0, noisy, 1, || "noisy"), Arrival::Refused(Refusal::QueueFull)));
    let (mut now, mut order) = (0.0, Vec::new());
    for round in 0..12 {
        if round % 3 == 0 {
            assert!(matches!(set.arrive(now, quiet, 1, || "quiet"), Arrival::Wait(..)));
        }
        now += 0.1;
        let mut next = set.finish(now, seat);
        assert_eq!(next.len(), 1);
        let (who, next) = next.remove(0);
        order.push(who);
        seat = next;
    }
    // Each of the four is next or the one after, however many the other has waiting.
    let places: Vec<usize> = order.iter().enumerate().filter(|(_, who)| **who == "quiet").map(|(at, _)| at).collect();
    assert_eq!(places.len(), 4, "{order:?}");
    assert!(places.iter().zip([0, 3, 6, 9]).all(|(at, came)| at - came <= 1), "{order:?}");
}

#[test]
fn long_requests_pay_for_their_time() {
    // One flow's requests take ten times as long: it gets one turn where the other gets about ten.
    let mut set = QueueSet::new(Shape { queues: 64, hand: 1, length: 200 }, 1, 0.0);
    let (mut now, mut turns) = (0.0, BTreeMap::new());
    let Arrival::Run(mut seat) = set.arrive(now, 0, 1, || "first") else { panic!("there is room") };
    for _ in 0..150 {
        set.arrive(now, 1, 1, || "short");
        set.arrive(now, 2, 1, || "long");
    }
    for _ in 0..110 {
        let mut next = set.finish(now, seat);
        let (who, next) = next.remove(0);
        *turns.entry(who).or_insert(0) += 1;
        now += if who == "long" { 1.0 } else { 0.1 };
        seat = next;
    }
    assert!((8..=14).contains(&turns["long"]), "{turns:?}");
}

#[test]
fn the_wide_wait_for_room_and_get_it() {
    let mut set = QueueSet::new(SHAPE, 4, 0.0);
    let mut seats: Vec<Seat> = Vec::new();
    for flow in 0..4 {
        let Arrival::Run(seat) = set.arrive(0.0, flow, 1, || 0) else { panic!("there is room") };
        seats.push(seat);
    }
    assert!(matches!(set.arrive(0.0, 9, 9, || 9), Arrival::Wait(..)), "wider than the limit, it waits for all to end");
    let mut run = Vec::new();
    for seat in seats {
        run.extend(set.finish(1.0, seat));
    }
    assert_eq!(run.iter().map(|(who, seat)| (*who, seat.seats)).collect::<Vec<_>>(), [(9, 9)]);
}

#[test]
fn who_gives_up_makes_room() {
    let mut set = QueueSet::new(Shape { queues: 1, hand: 1, length: 1 }, 1, 0.0);
    let Arrival::Run(seat) = set.arrive(0.0, 1, 1, || 0) else { panic!("there is room") };
    let Arrival::Wait(ticket, 1) = set.arrive(0.0, 1, 1, || 7) else { panic!("it has to wait") };
    assert!(matches!(set.arrive(0.0, 1, 1, || 0), Arrival::Refused(Refusal::QueueFull)));
    assert_eq!(set.abandon(1.0, ticket), Some(7));
    assert_eq!(set.abandon(1.0, ticket), None);
    assert!(matches!(set.arrive(1.0, 1, 1, || 0), Arrival::Wait(..)));
    assert_eq!(set.finish(2.0, seat).len(), 1);
}

#[test]
fn queues_come_and_go_with_the_configuration() {
    let mut set = QueueSet::new(Shape { queues: 64, hand: 8, length: 5 }, 1, 0.0);
    let Arrival::Run(seat) = set.arrive(0.0, 1, 1, || 0) else { panic!("there is room") };
    for flow in 0..20 {
        assert!(matches!(set.arrive(0.0, flow * 7919, 1, || 0), Arrival::Wait(..)));
    }
    assert!(set.configure(0.0, Shape { queues: 1, hand: 1, length: 5 }, 1).is_empty());
    let next = set.configure(0.0, Shape { queues: 1, hand: 1, length: 5 }, 11);
    assert_eq!((next.len(), set.counts()), (10, (11, 10)));
    let mut running: Vec<Seat> = next.into_iter().map(|(_, seat)| seat).collect();
    running.push(seat);
    while let Some(seat) = running.pop() {
        running.extend(set.finish(1.0, seat).into_iter().map(|(_, seat)| seat));
    }
    assert_eq!((set.counts(), set.queues.len(), set.active), ((0, 0), 1, 0));
}

#[test]
fn hands_are_dealt_fairly() {
    assert_eq!(hand(0, 4, 4), [0, 1, 2, 3]);
    let mut seen = [0usize; 16];
    for hash in 0..10_000u64 {
        for card in hand(hash.wrapping_mul(0x9E37_79B9_7F4A_7C15), 16, 4) {
            seen[card] += 1;
        }
    }
    assert!(seen.iter().all(|count| (2200..2800).contains(count)), "{seen:?}");
}

#[derive(Clone, Debug)]
enum Step {
    Arrive { flow: u64, seats: u32 },
    Finish(usize),
    Abandon(usize),
    Limit(u32),
    Queues(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u64..1000, 1u32..4).prop_map(|(flow, seats)| Step::Arrive { flow, seats }),
        3 => (0usize..100).prop_map(Step::Finish),
        1 => (0usize..100).prop_map(Step::Abandon),
        1 => (0u32..9).prop_map(Step::Limit),
        1 => (1usize..9).prop_map(Step::Queues),
    ]
}

proptest! {
    #[test]
    fn cards_are_different(hash: u64, deck in 1usize..200, count in 1usize..20) {
        let cards = hand(hash, deck, count);
        prop_assert_eq!(cards.len(), count.min(deck));
        prop_assert_eq!(cards.iter().collect::<BTreeSet<_>>().len(), cards.len());
        prop_assert!(cards.iter().all(|card| *card < deck));
    }

    /// Whatever happens: the limit holds, nobody is lost or run twice, nobody waits for nothing.
    #[test]
    fn nobody_is_lost(steps in prop::collection::vec(step(), 1..200)) {
        let (mut shape, mut limit, mut now) = (SHAPE, 5u32, 0.0);
        let mut set = QueueSet::new(shape, limit, now);
        let mut running: Vec<(u64, Seat)> = Vec::new();
        let mut waiting: Vec<(u64, Ticket)> = Vec::new();
        let mut names = 0u64;
        for step in steps {
            now += 0.01;
            let started = match step {
                Step::Arrive { flow, seats } => {
                    names += 1;
                    match set.arrive(now, flow, seats, || names) {
                        Arrival::Run(seat) => { running.push((names, seat)); Vec::new() }
                        Arrival::Wait(ticket, length) => {
                            prop_assert!(length <= shape.length);
                            waiting.push((names, ticket));
                            set.dispatch(now)
                        }
                        Arrival::Refused(_) => Vec::new(),
                    }
                }
                Step::Finish(at) if !running.is_empty() => {
                    let (_, seat) = running.swap_remove(at % running.len());
                    set.finish(now, seat)
                }
                Step::Abandon(at) if !waiting.is_empty() => {
                    let (name, ticket) = waiting.swap_remove(at % waiting.len());
                    prop_assert_eq!(set.abandon(now, ticket), Some(name));
                    set.dispatch(now)
                }
                Step::Limit(new) => { limit = new; set.configure(now, shape, limit) }
                Step::Queues(queues) => { shape.queues = queues; set.configure(now, shape, limit) }
                _ => Vec::new(),
            };
            let before: u32 = running.iter().map(|(_, seat)| seat.seats).sum();
            let begun: u32 = started.iter().map(|(_, seat)| seat.seats).sum();
            prop_assert!(begun == 0 || before + begun <= limit || (before == 0 && started.len() == 1), "over the limit");
            for (name, seat) in started {
                let at = waiting.iter().position(|(waits, _)| *waits == name);
                prop_assert!(at.is_some(), "{name} was not waiting");
                waiting.swap_remove(at.unwrap());
                running.push((name, seat));
            }
            let used: u32 = running.iter().map(|(_, seat)| seat.seats).sum();
            prop_assert_eq!(set.counts(), (used, waiting.len()));
            prop_assert!(waiting.is_empty() || used > 0, "all wait and nobody runs");
        }
        let active = set.queues.iter().filter(|queue| !queue.is_idle()).count();
        prop_assert_eq!(active, set.active);
    }
}
