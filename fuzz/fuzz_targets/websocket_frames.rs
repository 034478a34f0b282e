//! Frames of clients, as tungstenite reads them with the daemon's limits; and the daemon's own, which it must take.
#![no_main]

use std::io::{Cursor, Read, Write};

use chaffer_push::websocket::{context, frames};
use libfuzzer_sys::fuzz_target;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketContext};

/// Reads from a slice; what is written is counted.
struct Wire<'d>(Cursor<&'d [u8]>, usize);

impl Read for Wire<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.1 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fuzz_target!(|data: &[u8]| {
    let mut wire = Wire(Cursor::new(data), 0);
    let mut context = context(Vec::new());
    while let Ok(message) = context.read(&mut wire) {
        assert!(message.len() <= 64 * 1024);
    }
    assert!(wire.1 <= 2 * data.len() + 200, "{} bytes said", wire.1);

    let text = String::from_utf8_lossy(data);
    let (first, second) = text.split_at(text.floor_char_boundary(text.len() / 2));
    let frame = frames::text(&[first, second]);
    let mut client = WebSocketContext::new(Role::Client, None);
    let heard = client.read(&mut Wire(Cursor::new(&frame), 0)).unwrap();
    assert_eq!(heard, Message::text(text.as_ref()));
    let close = frames::close(4401, &text);
    assert!(matches!(client.read(&mut Wire(Cursor::new(&close), 0)), Ok(Message::Close(Some(_)))));
});
