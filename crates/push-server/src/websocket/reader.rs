//! Reads a client's messages by tungstenite, and keeps tungstenite's state only while there is any to keep.
//!
//! A connection that says nothing costs neither a buffer nor a parser: both are made when something comes, and let
//! go once all that came was whole messages.

use std::io;

use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};
use tungstenite::{Error, Message};

use crate::outlet::Outlet;

/// The longest message of a client: a token or a grant, with room to spare.
const MAX_MESSAGE_BYTES: usize = 64 * 1024;

/// Room for what clients usually say, a token; longer messages are read in pieces.
const READ_BUFFER_BYTES: usize = 1024;

/// The reading half of a connection.
pub(super) struct Reader(Option<Box<Reading>>);

struct Reading {
    context: WebSocketContext,
    /// Bytes from the socket.
    taken: usize,
    /// The least that the messages read so far took on the wire. What they did take is never less, so once this
    /// is all that was taken, nothing of another message is left in the context.
    whole: usize,
}

impl Reader {
    /// Begins with what the client sent behind its request.
    pub(super) fn new(rest: Vec<u8>) -> Self {
        Self((!rest.is_empty()).then(|| Reading::new(rest)))
    }

    /// The next message.
    ///
    /// # Errors
    /// Tungstenite's; after any but [`io::ErrorKind::WouldBlock`] there is nothing more to read.
    pub(super) fn read(&mut self, outlet: &Outlet) -> Result<Message, Error> {
        let reading = self.0.get_or_insert_with(|| Reading::new(Vec::new()));
        let result = reading.context.read(&mut Io { outlet, taken: &mut reading.taken });
        match &result {
            Ok(message) => reading.whole += least_on_the_wire(message),
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                if reading.taken == reading.whole {
                    self.0 = None;
                }
            }
            Err(_) => {}
        }
        result
    }
}

impl Reading {
    fn new(rest: Vec<u8>) -> Box<Self> {
        let taken = rest.len();
        Box::new(Self { context: context(rest), taken, whole: 0 })
    }
}

/// Tungstenite within our limits; `rest` is what was read already.
#[must_use]
pub fn context(rest: Vec<u8>) -> WebSocketContext {
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_message_size(Some(MAX_MESSAGE_BYTES))
        .max_frame_size(Some(MAX_MESSAGE_BYTES));
    WebSocketContext::from_partially_read(rest, Role::Server, Some(config))
}

/// One frame with the shortest header that a client's can have: two bytes, the length, the mask (RFC 6455,
/// section 5.2).
fn least_on_the_wire(message: &Message) -> usize {
    let payload = message.len();
    let length = match payload {
        0..=125 => 0,
        126..=65535 => 2,
        _ => 8,
    };
    // A close frame's code is not in its message's length.
    let code = if let Message::Close(Some(_)) = message { 2 } else { 0 };
    2 + length + 4 + payload + code
}

/// The socket as tungstenite sees it: it reads from the socket, and what it writes (pongs) joins the queue as a
/// whole frame, because with `write_buffer_size` 0 it writes each frame in one piece.
struct Io<'a> {
    outlet: &'a Outlet,
    taken: &'a mut usize,
}

impl io::Read for Io<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.outlet.try_read(buffer)?;
        *self.taken += read;
        Ok(read)
    }
}

impl io::Write for Io<'_> {
    fn write(&mut self, frame: &[u8]) -> io::Result<usize> {
        self.outlet.send(&bytes::Bytes::copy_from_slice(frame));
        Ok(frame.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::metrics::Metrics;

    async fn connection() -> (TcpStream, Arc<Outlet>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        (client, Outlet::new(server, 1 << 20, Arc::<Metrics>::default()))
    }

    /// What a client said in these bytes, and whether the reader keeps anything once it has read all of them.
    async fn said(bytes: &[u8]) -> (Vec<String>, bool) {
        let (mut client, outlet) = connection().await;
        client.write_all(bytes).await.unwrap();
        let (mut reader, mut texts, mut taken) = (Reader::new(Vec::new()), Vec::new(), 0);
        loop {
            match reader.read(&outlet) {
                Ok(message) => {
                    taken += least_on_the_wire(&message);
                    texts.push(message.to_text().unwrap().to_owned());
                }
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    if reader.0.as_ref().map_or(taken, |reading| reading.taken) == bytes.len() {
                        return (texts, reader.0.is_some());
                    }
                    outlet.readable().await;
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    const MASK: &[u8] = &[0; 4];

    fn short(first: u8, text: &str) -> Vec<u8> {
        [&[first, 0x80 | text.len() as u8], MASK, text.as_bytes()].concat()
    }

    #[tokio::test]
    async fn nothing_is_kept_once_all_that_came_was_whole_messages() {
        let two = [short(0x81, "a"), short(0x89, ""), short(0x81, "b")].concat();
        assert_eq!(said(&two).await, (vec!["a".into(), String::new(), "b".into()], false));
    }

    #[tokio::test]
    async fn the_beginning_of_a_message_is_kept() {
        let partial = [short(0x81, "a"), b"\x81\x85".to_vec()].concat();
        assert_eq!(said(&partial).await, (vec!["a".into()], true));
        let fragment = [short(0x81, "a"), short(0x01, "b")].concat();
        assert_eq!(said(&fragment).await, (vec!["a".into()], true));
    }

    #[tokio::test]
    async fn headers_longer_than_they_need_to_be_never_hide_a_beginning() {
        // A length of one in two bytes, then two bytes of another message: as long as two short headers.
        let long = [b"\x81\xfe\x00\x01".as_slice(), MASK, b"a", b"\x81\x81"].concat();
        assert_eq!(said(&long).await, (vec!["a".into()], true));
    }
}
