//! Tests of the codec, byte by byte.

use super::*;
use proptest::prelude::*;

const LIMIT: usize = 1000;

fn greeting(minor: u8, mechanism: &[u8]) -> Vec<u8> {
    let mut bytes = OPENING.to_vec();
    bytes.push(minor);
    bytes.extend_from_slice(mechanism);
    bytes.resize(64, 0);
    bytes
}

fn ready(socket_type: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let length = u32::try_from(socket_type.len()).unwrap().to_be_bytes();
    command(
        &mut bytes,
        b"READY",
        &[b"\x0bSocket-Type", &length, socket_type.as_bytes(), b"\x08Identity\0\0\0\x02id"],
    );
    bytes
}

fn handshake(minor: u8) -> Vec<u8> {
    [greeting(minor, b"NULL"), ready("PUSH")].concat()
}

fn v2_handshake() -> Vec<u8> {
    [&OPENING[..10], &[1, V2_PUSH, 0, 2, b'i', b'd']].concat()
}

/// Feeds the bytes in pieces; returns what came in, what was replied, and how it ended.
fn run(bytes: &[u8], piece: usize) -> (Vec<Incoming>, Vec<u8>, Result<Peer, ZmtpError>) {
    let (mut peer, mut input) = (Peer::new(LIMIT), BytesMut::new());
    let (mut got, mut replies) = (Vec::new(), Vec::new());
    for piece in bytes.chunks(piece.max(1)) {
        input.extend_from_slice(piece);
        loop {
            match peer.receive(&mut input, &mut replies) {
                Ok(Some(incoming)) => got.push(incoming),
                Ok(None) => break,
                Err(error) => return (got, replies, Err(error)),
            }
        }
        assert!(input.capacity() <= 4 * (MAX_COMMAND_BYTES + LIMIT + bytes.len()));
    }
    (got, replies, Ok(peer))
}

fn message(text: &str) -> Incoming {
    Incoming::Message(Bytes::copy_from_slice(text.as_bytes()))
}

#[test]
fn peers_of_zmtp_3_0_and_3_1_are_accepted_byte_by_byte() {
    for minor in [0, 1] {
        let bytes = [handshake(minor), b"\0\x02{}\0\x01x".to_vec()].concat();
        for piece in [1, 7, 1000] {
            let (got, replies, end) = run(&bytes, piece);
            assert_eq!(got, [message("{}"), message("x")]);
            assert!(end.unwrap().is_ready());
            assert_eq!(&replies[..5], b"\x01NULL");
            assert_eq!(&replies[53..], b"\x04\x1a\x05READY\x0bSocket-Type\0\0\0\x04PULL");
        }
    }
}

#[test]
fn peers_of_zmtp_2_0_are_accepted_without_ready() {
    let bytes = [v2_handshake(), b"\0\x02{}".to_vec()].concat();
    for piece in [1, 1000] {
        let (got, replies, end) = run(&bytes, piece);
        assert_eq!(got, [message("{}")]);
        assert_eq!(replies, [V2_PULL, 0, 0]);
        assert!(end.unwrap().is_ready());
    }
}

#[test]
fn a_ping_is_answered_with_its_context_at_any_time() {
    let ping = b"\x04\x0c\x04PING\0\x64hello".to_vec();
    let pong = b"\x04\x0a\x04PONGhello";
    for bytes in [
        [handshake(0), ping.clone()].concat(),
        [handshake(1), b"\x01\x01a".to_vec(), ping.clone()].concat(),
        [greeting(1, b"NULL"), ping.clone(), ready("PUSH")].concat(),
    ] {
        let (_, replies, end) = run(&bytes, 1);
        assert!(end.is_ok());
        assert!(replies.ends_with(pong), "{replies:?}");
    }
    let long = [handshake(1), b"\x04\x18\x04PING\0\x64".to_vec(), vec![b'x'; 17]].concat();
    assert!(matches!(run(&long, 1).2, Err(ZmtpError::Protocol(_))));
}

#[test]
fn a_multipart_message_is_let_go_as_a_whole() {
    let bytes =
        [handshake(1), b"\x01\x01a\x03\0\0\0\0\0\0\0\x01b\0\x01c\0\x02{}".to_vec()].concat();
    for piece in [1, 1000] {
        assert_eq!(run(&bytes, piece).0, [Incoming::Multipart, message("{}")]);
    }
}

#[test]
fn an_empty_message_is_a_message() {
    assert_eq!(run(&[handshake(1), vec![0, 0]].concat(), 1).0, [message("")]);
}

#[test]
fn a_frame_over_the_limit_is_refused_by_its_header() {
    for (flags, length) in
        [(2, 1001), (2, 1 << 40), (2, 1 << 62), (2, u64::MAX), (3, 1 << 62), (6, 8193)]
    {
        let header = [&[flags][..], &u64::to_be_bytes(length)].concat();
        for shake in [handshake(1), v2_handshake()] {
            let end = run(&[shake, header.clone()].concat(), 1).2;
            if flags == 6 {
                assert!(end.is_err());
            } else {
                assert_eq!(end.unwrap_err(), ZmtpError::TooLong { length, limit: LIMIT });
            }
        }
    }
    let exact = [handshake(1), vec![2, 0, 0, 0, 0, 0, 0, 3, 232], vec![b'x'; 1000]].concat();
    assert_eq!(run(&exact, 100).0.len(), 1);
}

#[test]
fn other_mechanisms_are_refused_after_our_greeting() {
    for mechanism in ["PLAIN", "CURVE", "NULLX", ""] {
        let (_, replies, end) = run(&greeting(0, mechanism.as_bytes()), 1);
        assert_eq!(end.unwrap_err(), ZmtpError::Mechanism(mechanism.into()));
        assert_eq!(replies.len(), VERSION_3_REST);
    }
}

#[test]
fn other_socket_types_are_told_so() {
    for kind in ["PULL", "PUB", "REQ", "push", ""] {
        let (_, replies, end) = run(&[greeting(1, b"NULL"), ready(kind)].concat(), 1);
        assert_eq!(end.unwrap_err(), ZmtpError::SocketType(kind.into()));
        assert!(replies.ends_with(b"\x05ERROR\x22only PUSH sockets may connect here"));
    }
    let v2 = [&OPENING[..10], &[1, 1]].concat();
    assert!(matches!(run(&v2, 1).2, Err(ZmtpError::SocketType(_))));
}

#[test]
fn malformed_metadata_is_refused() {
    for body in [
        &b"\x0bSocket-Type"[..],
        b"\x0bSocket-Type\0\0\0\x09PUSH",
        b"\0\0\0\0\0",
        b"\x01 \0\0\0\0",
        b"\x0bSocket-Type\0\0\0\x04PUSH\x0bsocket-type\0\0\0\x04PUSH",
    ] {
        let mut bytes = greeting(1, b"NULL");
        command(&mut bytes, b"READY", &[body]);
        assert!(matches!(run(&bytes, 1).2, Err(ZmtpError::Protocol(_))), "{body:?}");
    }
}

#[test]
fn strangers_are_recognised_by_their_first_byte() {
    assert!(run(b"\x16\x03\x01", 1).2.unwrap_err().to_string().contains("TLS"));
    assert!(run(b"G", 1).2.unwrap_err().to_string().contains("HTTP"));
    assert!(run(&[0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x00], 1).2.is_err());
}

#[test]
fn what_the_protocol_does_not_allow_is_refused() {
    for bytes in [
        [greeting(1, b"NULL"), b"\0\x02{}".to_vec()].concat(),
        [handshake(1), ready("PUSH")].concat(),
        [handshake(1), vec![0x08, 0]].concat(),
        [handshake(1), vec![0x05, 0]].concat(),
        [handshake(1), vec![0x04, 0]].concat(),
        [v2_handshake(), vec![0x04, 0]].concat(),
        [&OPENING[..10], &[0]].concat(),
    ] {
        assert!(run(&bytes, 1).2.is_err(), "{bytes:?}");
    }
}

proptest! {
    #[test]
    fn no_input_panics_or_grows_past_the_bounds(
        start in 0usize..4,
        bytes in prop::collection::vec(prop_oneof![Just(0u8), Just(1), Just(2), Just(4), any::<u8>()], 0..400),
        piece in 1usize..50,
    ) {
        let start = match start {
            0 => Vec::new(),
            1 => handshake(1),
            2 => v2_handshake(),
            _ => greeting(0, b"NULL"),
        };
        let _ = run(&[start, bytes].concat(), piece);
    }

    #[test]
    fn messages_come_out_as_they_went_in_however_they_are_cut(
        texts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..LIMIT), 0..6),
        v2 in any::<bool>(),
        piece in 1usize..700,
    ) {
        let mut bytes = if v2 { v2_handshake() } else { handshake(1) };
        for text in &texts {
            match u8::try_from(text.len()) {
                Ok(length) => bytes.extend_from_slice(&[0, length]),
                Err(_) => {
                    bytes.push(LONG);
                    bytes.extend_from_slice(&(text.len() as u64).to_be_bytes());
                }
            }
            bytes.extend_from_slice(text);
        }
        let expected: Vec<_> = texts.into_iter().map(|text| Incoming::Message(text.into())).collect();
        prop_assert_eq!(run(&bytes, piece).0, expected);
    }
}
