//! What stands in a message of the pusher port: signed frames, with and without a good signature, and legacy ones.
#![no_main]

use std::sync::LazyLock;

use chaffer_push::intake::legacy;
use chaffer_shared::event::Frame;
use chaffer_shared::link::LinkKeys;
use libfuzzer_sys::fuzz_target;

static KEYS: LazyLock<LinkKeys> =
    LazyLock::new(|| LinkKeys::parse(&["0123456789abcdef0123456789abcdef".into()]).unwrap());

fuzz_target!(|data: &[u8]| {
    if let Ok((_, payload)) = legacy(data, "category") {
        assert_eq!(payload.as_bytes(), data, "legacy messages stay as they are");
    }
    assert!(KEYS.verify(data).is_err(), "nobody guesses a signature");
    let signed = KEYS.sign(data).unwrap();
    assert_eq!(KEYS.verify(&signed), Ok(data));
    let _ = Frame::from_json(data);
});
