//! Whose address counts when a proxy stands in between: one rule for both daemons.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;

/// The address a request comes from: the peer's, or behind a trusted proxy the rightmost address of
/// `X-Forwarded-For` that is no trusted proxy itself. What stands left of it anybody may have written.
///
/// `forwarded` are the values of that header in the order they came, as bytes: whoever stands left of the entry
/// that counts must not be able to make it unreadable. `None` when the entry that counts is no address: then
/// nobody is behind the proxy.
#[must_use]
pub fn client_address<'h>(
    peer: IpAddr,
    forwarded: impl DoubleEndedIterator<Item = &'h [u8]>,
    proxies: &[IpNet],
) -> Option<IpAddr> {
    let mut address = peer.to_canonical();
    for entry in forwarded.rev().flat_map(|value| value.rsplit(|byte| *byte == b',')) {
        if !contains(proxies, address) {
            break;
        }
        address = parse(std::str::from_utf8(entry).ok()?.trim())?;
    }
    Some(address)
}

/// Whether one of the networks holds the address.
#[must_use]
pub fn contains(networks: &[IpNet], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(&address))
}

/// Who an address counts for: whoever has an IPv6 address has 2^64 of them, so such a network counts as one.
#[must_use]
pub fn account_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address => address,
    }
}

/// An address as proxies write it: bare, with a port, or in brackets.
fn parse(entry: &str) -> Option<IpAddr> {
    let bare = entry.parse::<IpAddr>().ok();
    let with_port = || entry.parse::<std::net::SocketAddr>().ok().map(|address| address.ip());
    let in_brackets = || entry.strip_prefix('[')?.strip_suffix(']')?.parse::<IpAddr>().ok();
    bare.or_else(with_port).or_else(in_brackets).map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn address(peer: &str, forwarded: &[&[u8]], proxies: &[&str]) -> Option<String> {
        let proxies: Vec<IpNet> = proxies.iter().map(|it| it.parse().unwrap()).collect();
        client_address(peer.parse().unwrap(), forwarded.iter().copied(), &proxies)
            .map(|it| it.to_string())
    }

    #[test]
    fn the_rightmost_untrusted_address_counts() {
        let proxies = &["127.0.0.1/32", "10.0.0.0/8"];
        let of = |peer, forwarded: &[&[u8]]| address(peer, forwarded, proxies);
        assert_eq!(of("127.0.0.1", &[]).as_deref(), Some("127.0.0.1"));
        assert_eq!(of("127.0.0.1", &[b"6.6.6.6"]).as_deref(), Some("6.6.6.6"));
        assert_eq!(of("127.0.0.1", &[b"127.0.0.1, 6.6.6.6"]).as_deref(), Some("6.6.6.6"));
        assert_eq!(of("127.0.0.1", &[b"6.6.6.6, 10.1.1.1"]).as_deref(), Some("6.6.6.6"));
        assert_eq!(of("127.0.0.1", &[b"1.1.1.1", b"6.6.6.6:99"]).as_deref(), Some("6.6.6.6"));
        assert_eq!(of("127.0.0.1", &[b"::ffff:6.6.6.6"]).as_deref(), Some("6.6.6.6"));
        assert_eq!(of("::ffff:127.0.0.1", &[b"[2001:db8::1]"]).as_deref(), Some("2001:db8::1"));
    }

    #[test]
    fn an_untrusted_peer_cannot_claim_an_address() {
        let claimed = address("6.6.6.6", &[b"127.0.0.1"], &["127.0.0.1/32"]);
        assert_eq!(claimed.as_deref(), Some("6.6.6.6"));
        assert_eq!(address("127.0.0.1", &[b"1.1.1.1"], &[]).as_deref(), Some("127.0.0.1"));
    }

    #[test]
    fn bytes_that_are_no_text_do_not_hide_the_address_behind_them() {
        let found = address("127.0.0.1", &[b"\xff, 6.6.6.6"], &["127.0.0.1/32"]);
        assert_eq!(found.as_deref(), Some("6.6.6.6"));
    }

    #[test]
    fn an_ipv6_network_counts_as_one() {
        let account = |text: &str| account_of(text.parse().unwrap()).to_string();
        assert_eq!(account("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(account("::ffff:6.6.6.6"), "6.6.6.6");
    }

    #[test]
    fn garbage_behind_a_proxy_is_nobody() {
        assert_eq!(address("127.0.0.1", &[b"unknown"], &["127.0.0.1/32"]), None);
    }

    proptest! {
        #[test]
        fn what_a_proxy_appended_counts_whatever_stands_before_it(
            before in prop::collection::vec(any::<u8>(), 0..60),
        ) {
            let header = [before.as_slice(), b", 6.6.6.6"].concat();
            let found = address("127.0.0.1", &[&header], &["127.0.0.1/32"]);
            prop_assert_eq!(found.as_deref(), Some("6.6.6.6"));
        }
    }
}
