//! Which process it was: a name for this one that tells whether it has ended, as far as that can be seen from here.
//!
//! A lease outlives a process that was killed. Who finds that the process is gone need not wait for its end.

use std::fs;

use crate::object_store::host_name;

/// This process: `host:pid` for people, then what it takes to know it again.
pub fn own() -> String {
    let pid = std::process::id();
    let world = world().unwrap_or_default();
    let started = started(pid).unwrap_or_default();
    format!("{}:{pid} {world} {started}", host_name())
}

/// The part of a name that is for people.
pub fn shown(name: &str) -> &str {
    name.split(' ').next().unwrap_or_default()
}

/// Whether the process has certainly ended: it ran on this host since it was booted, among the processes that can be
/// seen from here, and is not there or its number is another's.
pub fn is_gone(name: &str) -> bool {
    let mut parts = name.split(' ');
    let pid = parts
        .next()
        .and_then(|shown| shown.rsplit_once(':')?.1.parse().ok());
    let (Some(pid), Some(there), Some(begun)) = (pid, parts.next(), parts.next()) else {
        return false;
    };
    let is_here = world().is_some_and(|here| here == there);
    is_here && !begun.is_empty() && started(pid).as_deref() != Some(begun)
}

/// Whether the process is one of those that can be seen from here, so that [`is_gone`] tells for certain.
pub fn is_here(name: &str) -> bool {
    let there = name.split(' ').nth(1);
    there.is_some() && there == world().as_deref()
}

/// The kernel's boot and the namespace in which processes have their numbers.
fn world() -> Option<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{}/{}", boot.trim(), namespace.display()))
}

/// When a process was started, in the kernel's ticks since the boot; none when there is no such process.
fn started(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in brackets may hold anything; proc_pid_stat(5) counts the start as field 22.
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ');
    // A zombie has ended, though its number is not free.
    let state = fields.next()?;
    (state != "Z").then(|| fields.nth(18).map(str::to_owned))?
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn who_runs_is_there_and_who_has_ended_is_gone() {
        let own = own();
        assert!(!is_gone(&own), "{own}");
        assert!(is_here(&own), "{own}");
        assert!(shown(&own).ends_with(&format!(":{}", std::process::id())));
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let parts: Vec<&str> = own.split(' ').collect();
        let begun = started(child.id()).unwrap();
        let name = format!("host:{} {} {begun}", child.id(), parts[1]);
        assert!(!is_gone(&name), "{name}");
        let other = format!("host:{} {} 1", std::process::id(), parts[1]);
        assert!(is_gone(&other), "its number is another's now");
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(is_gone(&name), "{name}");
        let elsewhere = format!("host:{} elsewhere {begun}", child.id());
        for unknown in [&elsewhere, "", "host:1", "host", "host:x y z", "host:7  "] {
            assert!(!is_gone(unknown), "nothing is known of {unknown:?}");
            assert!(!is_here(unknown), "{unknown:?}");
        }
    }
}
