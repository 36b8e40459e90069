//! Finding the processes of servers, as far as they can be seen from here: by `/proc`, proc(5).

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::ServerError;

/// How long a server may take for an immediate shutdown.
const SHUTDOWN: Duration = Duration::from_secs(10);

/// How long a killed process may take to be gone.
const KILLED: Duration = Duration::from_secs(10);

/// Whether a server runs in a data folder, be it in a container of this machine: by where its processes are, which is
/// the data folder. Its `postmaster.pid` counts too where its process may be looked at by others only.
pub fn is_running_in(data: &Path) -> bool {
    let Ok(data_is) = fs::metadata(data) else {
        return false;
    };
    let is_there = |pid: u32| {
        let cwd = fs::metadata(format!("/proc/{pid}/cwd"));
        cwd.is_ok_and(|cwd| (cwd.dev(), cwd.ino()) == (data_is.dev(), data_is.ino()))
    };
    if numbers().any(|pid| is_server(pid) && is_there(pid)) {
        return true;
    }
    let pid = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
    let pid = pid.lines().next().and_then(|line| line.trim().parse().ok());
    pid.is_some_and(|pid| is_server(pid) && fs::read_link(format!("/proc/{pid}/cwd")).is_err())
}

/// Ends all processes that are in a folder or were told of it, whose name no other has: a server's with an immediate
/// shutdown, and what is still there then at once. Takes up to 20 seconds.
pub fn end_all(folder: &Path) -> Result<(), ServerError> {
    for (signal, patience) in [("QUIT", SHUTDOWN), ("KILL", KILLED)] {
        let begun = Instant::now();
        loop {
            let found = of_folder(folder);
            if found.is_empty() {
                return Ok(());
            }
            if begun.elapsed() > patience {
                break;
            }
            // Again each time: what was found may have started others.
            signal_all(signal, &found);
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    Err(ServerError::Endless(folder.to_owned()))
}

/// By the shell, which has `kill` built in.
fn signal_all(signal: &str, pids: &[u32]) {
    let pids: Vec<_> = pids.iter().map(u32::to_string).collect();
    // Those that have ended meanwhile are an error of no account.
    let _ = Command::new("sh")
        .args([
            "-c",
            &format!("kill -s {signal} {} 2>/dev/null", pids.join(" ")),
        ])
        .status();
}

fn of_folder(folder: &Path) -> Vec<u32> {
    let name = folder.as_os_str().as_encoded_bytes();
    let own = std::process::id();
    let is_told = |pid: u32| {
        let told = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        told.windows(name.len()).any(|some| some == name)
    };
    let is_in = |pid: u32| {
        let cwd = fs::read_link(format!("/proc/{pid}/cwd"));
        cwd.is_ok_and(|cwd| cwd.starts_with(folder))
    };
    let others = numbers().filter(|pid| *pid != own);
    others.filter(|pid| is_told(*pid) || is_in(*pid)).collect()
}

fn is_server(pid: u32) -> bool {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    ["postgres", "postmaster"].contains(&name.trim_end())
}

fn numbers() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}
