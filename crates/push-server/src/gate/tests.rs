//! Tests of the limits, without sockets.

use super::*;
use proptest::prelude::*;

fn push(change: impl FnOnce(&mut Push)) -> Push {
    let mut push = Push {
        max_connections: 100,
        max_connections_per_address: 10,
        max_unauthenticated: 8,
        max_unauthenticated_per_address: 3,
        handshakes_per_second: 1000,
        handshakes_per_second_per_address: 100,
        ..Push::default()
    };
    change(&mut push);
    push
}

fn gate_with(change: impl FnOnce(&mut Push)) -> Arc<Gate> {
    Gate::new(Limits::of(&push(change), None).0, &["127.0.0.1/32".parse().unwrap()])
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn welcome(gate: &Arc<Gate>, address: &str) -> Result<Ticket, Limited> {
    let mut ticket = gate.admit(ip(address))?;
    assert!(ticket.welcome());
    Ok(ticket)
}

fn is_evicted(ticket: &Ticket) -> Option<Limited> {
    ticket.waits.as_ref().and_then(|eviction| eviction.why.get().copied())
}

/// That nothing is left of those who have gone.
fn assert_empty(gate: &Gate) {
    let state = gate.lock();
    assert_eq!((state.connections, state.waiting), (0, 0));
    assert!(state.ranking.is_empty());
    assert!(state.accounts.values().all(|it| it.connections == 0 && it.waiting.is_empty()));
}

#[tokio::test(start_paused = true)]
async fn an_address_has_as_many_connections_as_it_may_and_others_have_theirs() {
    let gate = gate_with(|_| {});
    let mut tickets: Vec<_> = (0..10).map(|_| welcome(&gate, "6.6.6.6").unwrap()).collect();
    assert_eq!(welcome(&gate, "6.6.6.6").unwrap_err(), Limited::ConnectionsPerAddress);
    tickets.push(welcome(&gate, "7.7.7.7").unwrap());
    tickets.remove(0);
    tickets.push(welcome(&gate, "6.6.6.6").unwrap());
    drop(tickets);
    assert_empty(&gate);
}

#[tokio::test(start_paused = true)]
async fn an_ipv6_network_of_64_bits_is_one_address() {
    let gate = gate_with(|_| {});
    let tickets: Vec<_> =
        (0..10).map(|n| welcome(&gate, &format!("2001:db8::{n}")).unwrap()).collect();
    let more = welcome(&gate, "2001:db8::ffff");
    assert_eq!(more.unwrap_err(), Limited::ConnectionsPerAddress);
    assert!(welcome(&gate, "2001:db8:0:1::1").is_ok());
    assert_eq!(tickets[0].address(), ip("2001:db8::"));
    assert_eq!(gate.admit(ip("::ffff:6.6.6.6")).unwrap().address(), ip("6.6.6.6"));
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_longest_of_its_address_gives_way() {
    let gate = gate_with(|_| {});
    let tickets: Vec<_> = (0..3).map(|_| gate.admit(ip("6.6.6.6")).unwrap()).collect();
    let mut newcomer = gate.admit(ip("6.6.6.6")).unwrap();
    assert_eq!(tickets[0].evicted().await, Limited::UnauthenticatedPerAddress);
    assert_eq!(tickets[1..].iter().find_map(is_evicted), None);
    assert!(newcomer.welcome(), "an honest client gets through beside a flood");
    let mut tickets = tickets;
    assert!(tickets[0].welcome(), "it came in time after all");
    drop((tickets, newcomer));
    assert_empty(&gate);
}

#[tokio::test(start_paused = true)]
async fn when_all_places_are_taken_the_address_with_the_most_gives_way() {
    let gate = gate_with(|_| {});
    let few: Vec<_> = (0..2).map(|_| gate.admit(ip("1.1.1.1")).unwrap()).collect();
    let some: Vec<_> = (0..3).map(|_| gate.admit(ip("6.6.6.6")).unwrap()).collect();
    let more: Vec<_> = (0..3).map(|_| gate.admit(ip("7.7.7.7")).unwrap()).collect();
    let newcomers: Vec<_> = (0..2).map(|_| gate.admit(ip("8.8.8.8")).unwrap()).collect();
    assert_eq!(few.iter().find_map(is_evicted), None);
    assert_eq!(newcomers.iter().find_map(is_evicted), None);
    assert_eq!(is_evicted(&some[0]), Some(Limited::Unauthenticated));
    assert_eq!(is_evicted(&more[0]), Some(Limited::Unauthenticated));
}

#[tokio::test(start_paused = true)]
async fn when_there_is_room_for_none_only_those_who_wait_give_way_and_to_others_only() {
    let gate = gate_with(|push| push.max_connections = 4);
    let _authenticated: Vec<_> =
        ["1.1.1.1", "2.2.2.2"].iter().map(|it| welcome(&gate, it).unwrap()).collect();
    let waiting: Vec<_> = (0..2).map(|_| gate.admit(ip("6.6.6.6")).unwrap()).collect();
    assert_eq!(gate.admit(ip("6.6.6.6")).unwrap_err(), Limited::Connections);
    let _newcomer = welcome(&gate, "3.3.3.3").unwrap();
    assert_eq!(is_evicted(&waiting[0]), Some(Limited::Connections));
    let _another = welcome(&gate, "4.4.4.4").unwrap();
    assert_eq!(is_evicted(&waiting[1]), Some(Limited::Connections));
    let mut waiting = waiting;
    assert!(!waiting[0].welcome(), "its place is taken");
    assert_eq!(waiting[1].belongs_to(ip("6.6.6.6")).unwrap_err(), Limited::Connections);
    assert_eq!(gate.admit(ip("5.5.5.5")).unwrap_err(), Limited::Connections);
}

#[tokio::test(start_paused = true)]
async fn handshakes_come_in_bursts_of_five_seconds_worth_and_a_flood_uses_up_nobody_elses() {
    let gate = gate_with(|push| {
        push.handshakes_per_second = 100;
        push.handshakes_per_second_per_address = 10;
    });
    let burst = |address: &str| {
        std::iter::repeat_with(|| welcome(&gate, address)).take(1000).filter(Result::is_ok).count()
    };
    assert_eq!(burst("6.6.6.6"), 50);
    assert_eq!(gate.admit(ip("6.6.6.6")).unwrap_err(), Limited::HandshakesPerAddress);
    assert!(welcome(&gate, "7.7.7.7").is_ok());
    tokio::time::advance(std::time::Duration::from_secs(2)).await;
    assert_eq!(burst("6.6.6.6"), 20);
    let all: usize = (0..100).map(|n| burst(&format!("9.9.9.{n}"))).sum();
    assert_eq!(all, 480, "the rest of five seconds' worth for all");
    assert_eq!(gate.admit(ip("10.1.1.1")).unwrap_err(), Limited::Handshakes);
}

#[tokio::test(start_paused = true)]
async fn behind_a_trusted_proxy_the_client_counts_and_not_the_proxy() {
    let gate = gate_with(|push| push.handshakes_per_second_per_address = 20);
    let through = |client: &str| -> Result<Ticket, Limited> {
        let mut ticket = gate.admit(ip("127.0.0.1"))?;
        ticket.belongs_to(ip(client))?;
        assert_eq!(ticket.address(), ip(client));
        assert!(ticket.welcome());
        Ok(ticket)
    };
    let _tickets: Vec<_> = (0..10).map(|_| through("6.6.6.6").unwrap()).collect();
    assert_eq!(through("6.6.6.6").unwrap_err(), Limited::ConnectionsPerAddress);
    let _others: Vec<_> = (0..10).map(|_| through("7.7.7.7").unwrap()).collect();
    for _ in 0..100 {
        drop(through("8.8.8.8").unwrap());
    }
    assert_eq!(through("8.8.8.8").unwrap_err(), Limited::HandshakesPerAddress);
    // What the machine itself opens is nobody's flood.
    let own: Vec<_> = (0..50).map(|_| through("127.0.0.1").unwrap()).collect();
    assert_eq!(own.len(), 50);
    // A peer that is no trusted proxy cannot name another.
    let mut stranger = gate.admit(ip("5.5.5.5")).unwrap();
    stranger.belongs_to(ip("6.6.6.7")).unwrap();
    assert_eq!(stranger.address(), ip("5.5.5.5"));
}

#[tokio::test(start_paused = true)]
async fn nobody_takes_more_than_three_quarters_not_even_a_proxy() {
    let gate = gate_with(|push| push.max_connections_per_address = 0);
    for address in ["6.6.6.6", "127.0.0.1"] {
        let tickets: Vec<_> = (0..75).map(|_| welcome(&gate, address).unwrap()).collect();
        assert_eq!(welcome(&gate, address).unwrap_err(), Limited::ConnectionsPerAddress);
        drop(tickets);
    }
}

#[test]
fn limits_never_exceed_the_descriptors() {
    let generous = push(|push| {
        push.max_connections = 0;
        push.max_pushers = 0;
    });
    for descriptors in [64, 1024, 4096, 65_536, 1 << 20] {
        let (websocket, pusher) = Limits::of(&generous, Some(descriptors));
        let sum = websocket.connections() + pusher.connections();
        assert!(sum > 0 && (sum as u64) < descriptors, "{descriptors}: {sum}");
    }
    assert_eq!(Limits::of(&push(|_| {}), Some(65_536)).0.connections(), 100);
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_addresses_is_not_remembered_for_ever() {
    let gate = gate_with(|push| {
        push.handshakes_per_second = 0;
        push.max_connections = 0;
    });
    for n in 0..100_000_u32 {
        drop(gate.admit(n.to_be_bytes().into()).unwrap());
        if n % 1000 == 0 {
            tokio::time::advance(std::time::Duration::from_secs(1)).await;
        }
        // A second's worth, and as many again that may be swept.
        assert!(gate.lock().accounts.len() <= 4 * SWEEP_AT_LEAST);
    }
    assert_empty(&gate);
}

proptest! {
    #[test]
    fn whatever_comes_and_goes_the_books_are_right(
        steps in prop::collection::vec((0u8..5, 0u8..6), 0..200),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let gate = gate_with(|push| push.max_connections = 12);
            let mut tickets: Vec<Ticket> = Vec::new();
            for (step, address) in steps {
                let address: IpAddr = [127, 0, 0, address + 1].into();
                match step {
                    0 | 1 => tickets.extend(gate.admit(address)),
                    2 => {
                        if let Some(ticket) = tickets.last_mut() {
                            let _ = ticket.welcome();
                        }
                    }
                    3 => {
                        if let Some(mut ticket) = tickets.pop()
                            && ticket.belongs_to(address).is_ok()
                        {
                            tickets.push(ticket);
                        }
                    }
                    _ => {
                        if !tickets.is_empty() {
                            tickets.swap_remove(usize::from(step) % tickets.len());
                        }
                    }
                }
                let state = gate.lock();
                let counted = tickets.iter().filter(|it| is_evicted(it).is_none()).count();
                assert_eq!(state.connections, counted);
                assert!(state.connections <= 12 && state.waiting <= 8);
                let waiting: usize = state.accounts.values().map(|it| it.waiting.len()).sum();
                assert_eq!(state.waiting, waiting);
                assert_eq!(state.ranking.iter().map(|(n, _)| n).sum::<usize>(), waiting);
            }
            drop(tickets);
            assert_empty(&gate);
        });
    }
}
