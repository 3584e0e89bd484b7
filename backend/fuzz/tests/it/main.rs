//! Every target on inputs by chance. More of them: `PILOTHOUSE_FUZZ=100000`.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

fn run(target: fn(&[u8]), cases: u32) {
    let cases = std::env::var("PILOTHOUSE_FUZZ").ok().and_then(|cases| cases.parse().ok()).unwrap_or(cases);
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let inputs = prop::collection::vec(any::<u8>(), 0..96);
    let outcome = runner.run(&inputs, |input| {
        target(&input);
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

#[test]
fn decode() {
    run(pilothouse_fuzz::decode, 4_000);
}

#[test]
fn patch() {
    run(pilothouse_fuzz::patch, 4_000);
}

#[test]
fn apply() {
    run(pilothouse_fuzz::apply, 2_000);
}

#[test]
fn expression() {
    run(pilothouse_fuzz::expression, 4_000);
}

#[test]
fn definition() {
    run(pilothouse_fuzz::definition, 2_000);
}

#[test]
fn text() {
    run(pilothouse_fuzz::text, 10_000);
}

#[test]
fn request() {
    run(pilothouse_fuzz::request, 2_000);
}
