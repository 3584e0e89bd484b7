#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| pilothouse_fuzz::apply(input));
