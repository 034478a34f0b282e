//! The pusher port's codec, fed in pieces: it never keeps more than one frame, and never says more than it hears.
#![no_main]

use bytes::BytesMut;
use chaffer_push::zmtp::Peer;
use libfuzzer_sys::fuzz_target;

const LIMIT: usize = 1000;

fuzz_target!(|data: &[u8]| {
    let Some((&how, bytes)) = data.split_first() else { return };
    let piece = usize::from(how >> 2) + 1;
    // Behind a good handshake the fuzzer gets further.
    let start: &[u8] = match how & 3 {
        0 => b"",
        1 => b"\xff\0\0\0\0\0\0\0\0\x7f\x01\x08\0\0",
        2 => b"\xff\0\0\0\0\0\0\0\0\x7f\x03\x01NULL\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        _ => b"\xff\0\0\0\0\0\0\0\0\x7f\x03\x01NULL\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x04\x1a\x05READY\x0bSocket-Type\0\0\0\x04PUSH",
    };
    let (mut peer, mut input, mut replies) = (Peer::new(LIMIT), BytesMut::new(), Vec::new());
    let mut heard = 0;
    for piece in std::iter::once(start).chain(bytes.chunks(piece)) {
        input.extend_from_slice(piece);
        heard += piece.len();
        loop {
            match peer.receive(&mut input, &mut replies) {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => return,
            }
        }
        // A command may be longer than a message.
        assert!(input.len() <= 8192 + 9, "{} bytes are kept", input.len());
        assert!(input.capacity() <= 4 * (8192 + LIMIT + data.len()), "{}", input.capacity());
        assert!(replies.len() <= 200 + heard, "{} bytes to say", replies.len());
    }
});
