//! The little HTTP/1.1 that a load generator needs: one connection that stays open, one call at a time.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// A connection to an HTTP server.
#[derive(Debug)]
pub struct Http {
    stream: BufReader<TcpStream>,
    headers: String,
}

impl Http {
    /// Connects; every call will carry this bearer token.
    ///
    /// # Errors
    /// When nobody listens.
    pub fn connect(address: SocketAddr, bearer: &str) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        let headers = format!("Host: localhost\r\nAuthorization: Bearer {bearer}\r\n");
        Ok(Self { stream: BufReader::new(stream), headers })
    }

    /// Every call carries one more header.
    pub fn with(&mut self, name: &str, value: &str) {
        self.headers.push_str(&format!("{name}: {value}\r\n"));
    }

    /// A call with a JSON body, or with none when it is null; any answer but 2xx is an error.
    ///
    /// # Errors
    /// When the call fails.
    pub fn call(&mut self, method: &str, path: &str, body: &Value) -> Result<Value> {
        // A body that nobody reads may end the connection.
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = format!(
            "{method} {path} HTTP/1.1\r\n{}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.headers,
            body.len(),
        );
        self.stream.get_mut().write_all(request.as_bytes())?;
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let success = line.starts_with("HTTP/1.1 2");
        let status = line.trim().to_owned();
        let mut length = 0;
        loop {
            line.clear();
            if self.stream.read_line(&mut line)? == 0 {
                bail!("{method} {path}: the connection closed");
            }
            let header = line.trim();
            if header.is_empty() {
                break;
            }
            if let Some((name, value)) = header.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().context("content-length")?;
            }
        }
        let mut answer = vec![0; length];
        self.stream.read_exact(&mut answer)?;
        if !success {
            bail!("{method} {path}: {status}: {}", String::from_utf8_lossy(&answer));
        }
        Ok(serde_json::from_slice(&answer).unwrap_or(Value::Null))
    }
}
