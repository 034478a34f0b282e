//! Ports for the daemons of a test.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Result, bail};

/// Below the range that the kernel gives to outgoing connections, so that a port stays free while its daemon is
/// being killed and started again.
const FIRST: u32 = 12_000;
const COUNT: u32 = 20_000;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A port on loopback that nobody listens on, never the same twice in one test run.
///
/// # Errors
/// When all are taken.
pub fn free_port() -> Result<u16> {
    let offset = std::process::id().wrapping_mul(199) % COUNT;
    for _ in 0..COUNT {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = u16::try_from(FIRST + (offset + number) % COUNT)?;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port between {FIRST} and {} is free", FIRST + COUNT)
}
