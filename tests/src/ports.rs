//! Ports of 127.0.0.1 for servers in other processes, which are told theirs before they listen.

use std::net::TcpListener;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::bail;

/// Below 32768, where Linux begins to give ports to outgoing connections and to listeners that take any:
/// none of those can take a port between its choice and its use.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_768;

/// So far apart are the ports of processes with neighbouring numbers.
const PORTS_OF_A_PROCESS: u32 = 61;

/// A port that nothing listened on a moment ago, and that this process has not been given before.
pub fn free_port() -> anyhow::Result<u16> {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let first = process::id().wrapping_mul(PORTS_OF_A_PROCESS);
    for _ in 0..COUNT {
        let number = first.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed));
        let port = FIRST + u16::try_from(number % u32::from(COUNT))?;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("all {COUNT} ports from {FIRST} on are in use")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_port_is_given_twice_or_from_those_of_the_system() {
        let ports = [(); 100].map(|()| free_port().unwrap());
        assert!(ports.iter().all(|port| (20_000..32_768).contains(port)));
        let different: std::collections::HashSet<u16> = ports.into_iter().collect();
        assert_eq!(different.len(), 100);
    }
}
