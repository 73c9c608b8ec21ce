//! Requests to the engine, decided by the policy and compared with the checker, which shares no code
//! with it: whatever is allowed is harmless.
#![no_main]

use edge_fuzz::{count, decision};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| count(&decision::request_input(text)));
