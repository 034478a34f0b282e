//! The native protocol, and the tokens that it carries.
#![no_main]

use std::sync::LazyLock;

use chaffer_push::websocket::native::{Problem, parse};
use chaffer_shared::token::TokenKeys;
use libfuzzer_sys::fuzz_target;

static KEYS: LazyLock<TokenKeys> =
    LazyLock::new(|| TokenKeys::parse(&["k1:0123456789abcdef0123456789abcdef".into()]).unwrap());

fuzz_target!(|data: &str| {
    match parse(data) {
        Err(Problem::Error { code, detail }) => assert!(!code.is_empty() && detail.len() < 1000),
        Err(Problem::Malformed) | Ok(_) => {}
    }
    let now = chaffer_shared::time::now();
    assert!(KEYS.verify(data, now).is_err(), "nobody guesses a token");
    assert!(KEYS.verify_grant(data, now).is_err(), "nor a grant");
});
