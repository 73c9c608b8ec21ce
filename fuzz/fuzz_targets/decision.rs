//! Command lines, stored containers and requests to the engine, decided by the policy and
//! compared with the checker, which shares no code with it: whatever is allowed is
//! harmless. The form of an input is described in the module that decides.
#![no_main]

#[path = "../../crates/edge-docker-policy/tests/decision/mod.rs"]
mod decision;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = decision::any(text);
});
