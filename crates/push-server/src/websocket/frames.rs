//! What the server writes on a WebSocket: whole frames, encoded once and shared (RFC 6455, section 5.2).
//!
//! A server's frames are not masked and none is fragmented, so this is all there is to it.

use bytes::{BufMut, Bytes, BytesMut};

/// The close codes of protocols.md, beside those of RFC 6455, section 7.4.1.
pub mod close_code {
    /// The peer broke RFC 6455.
    pub const PROTOCOL: u16 = 1002;
    /// A kind of data that is not taken.
    pub const UNSUPPORTED: u16 = 1003;
    /// A message that is not what its type says: no UTF-8, or no WAMP.
    pub const INVALID: u16 = 1007;
    /// Over a limit that has no code of its own.
    pub const POLICY: u16 = 1008;
    /// A message over the limit.
    pub const TOO_BIG: u16 = 1009;
    /// The server restarts; the reason says when to come back.
    pub const RESTARTING: u16 = 1012;
    /// The server has too much to do (IANA's registry of close codes).
    pub const TRY_AGAIN_LATER: u16 = 1013;
    /// The native protocol was broken.
    pub const BAD_MESSAGE: u16 = 4400;
    /// Authentication failed; the same token will fail again.
    pub const UNAUTHENTICATED: u16 = 4401;
    /// The token has expired; fetch another.
    pub const EXPIRED: u16 = 4402;
    /// The right has ended.
    pub const REVOKED: u16 = 4403;
    /// The client does not read fast enough; reconnect and resume.
    pub const TOO_SLOW: u16 = 4408;
}

const FINAL_TEXT: u8 = 0x81;
#[cfg(feature = "echo")]
const FINAL_BINARY: u8 = 0x82;
const FINAL_CLOSE: u8 = 0x88;

/// A ping without a payload.
pub const PING: Bytes = Bytes::from_static(&[0x89, 0]);

/// The longest reason that fits a close frame beside its code (RFC 6455, section 5.5).
const MAX_REASON_BYTES: usize = 123;

/// A text message made of pieces.
#[must_use]
pub fn text<P: AsRef<[u8]>>(pieces: &[P]) -> Bytes {
    message(FINAL_TEXT, pieces)
}

/// A binary message.
#[cfg(feature = "echo")]
#[must_use]
pub fn binary(payload: &[u8]) -> Bytes {
    message(FINAL_BINARY, &[payload])
}

fn message<P: AsRef<[u8]>>(first: u8, pieces: &[P]) -> Bytes {
    let length = pieces.iter().map(|piece| piece.as_ref().len()).sum::<usize>();
    let mut frame = BytesMut::with_capacity(length + 10);
    frame.put_u8(first);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ 0..=125), _) => frame.put_u8(short),
        (_, Ok(medium)) => {
            frame.put_u8(126);
            frame.put_u16(medium);
        }
        _ => {
            frame.put_u8(127);
            frame.put_u64(length as u64);
        }
    }
    pieces.iter().for_each(|piece| frame.put_slice(piece.as_ref()));
    frame.freeze()
}

/// A close frame; the reason is cut to what fits.
#[must_use]
pub fn close(code: u16, reason: &str) -> Bytes {
    let reason = reason.get(..reason.floor_char_boundary(MAX_REASON_BYTES)).unwrap_or_default();
    let mut frame = BytesMut::with_capacity(4 + reason.len());
    frame.put_u8(FINAL_CLOSE);
    // At most 125, so the cut never bites.
    frame.put_u8(u8::try_from(2 + reason.len()).unwrap_or(2));
    frame.put_u16(code);
    frame.put_slice(reason.as_bytes());
    frame.freeze()
}

/// A close frame that answers one without a code.
#[must_use]
pub fn close_without_code() -> Bytes {
    Bytes::from_static(&[FINAL_CLOSE, 0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_written_as_short_as_can_be() {
        let header = |length: usize| {
            let frame = text(&["x".repeat(length).as_str()]);
            frame[..frame.len() - length].to_vec()
        };
        assert_eq!(header(0), [0x81, 0]);
        assert_eq!(header(125), [0x81, 125]);
        assert_eq!(header(126), [0x81, 126, 0, 126]);
        assert_eq!(header(65535), [0x81, 126, 255, 255]);
        assert_eq!(header(65536), [0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn pieces_are_joined() {
        assert_eq!(text(&["a", "", "bc"]), b"\x81\x03abc".as_slice());
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let frame = close(4401, &"ж".repeat(100));
        assert_eq!(frame.len(), 4 + 122);
        assert_eq!(frame[1], 124);
        assert!(std::str::from_utf8(&frame[4..]).is_ok());
        assert_eq!(close(1000, "x"), [0x88, 3, 0x03, 0xe8, b'x'].as_slice());
    }
}
