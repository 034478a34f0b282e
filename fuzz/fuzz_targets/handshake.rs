//! The opening handshake: bytes as they are, and headers within a good request.
#![no_main]

use chaffer_push::websocket::handshake::{Rules, decide};
use libfuzzer_sys::fuzz_target;

const HEAD: &[u8] = b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

fuzz_target!(|data: &[u8]| {
    let allowed = ["https://shop.example".to_owned()];
    let proxies = ["127.0.0.1/32".parse().unwrap()];
    let rules =
        Rules { allowed_origins: &allowed, proxies: &proxies, peer: [127, 0, 0, 1].into() };
    for head in [data.to_vec(), [HEAD, data, b"\r\n\r\n"].concat()] {
        match decide(&head, &rules) {
            // No more is read for a head that is too long.
            None => assert!(head.len() <= 16 * 1024),
            Some(request) => {
                if let Ok(upgrade) = request.verdict {
                    assert!(upgrade.rest.len() < head.len());
                }
            }
        }
    }
});
