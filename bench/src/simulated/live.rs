//! A simulated server that takes its time for real.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::time::Duration;

use stoker_shared::pace::Answer;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::{Agenda, Event, Request, Server, What};

/// So long a server may sleep while nothing is under way.
const IDLE: Duration = Duration::from_hours(1);

/// Gives requests to a simulated server; it ends with the last of these.
#[derive(Debug, Clone)]
pub struct Live(mpsc::UnboundedSender<Asked>);

#[derive(Debug)]
struct Asked {
    items: usize,
    reply: oneshot::Sender<Answer>,
}

impl Live {
    /// Starts a server.
    pub fn start(server: Box<dyn Server + Send>, seed: u64) -> Self {
        let (ask, asked) = mpsc::unbounded_channel();
        tokio::spawn(serve(server, Agenda::new(seed), asked));
        Self(ask)
    }

    /// The answer to a request of so many items, when the server has it ready.
    pub async fn ask(&self, items: usize) -> anyhow::Result<Answer> {
        let (reply, answer) = oneshot::channel();
        self.0.send(Asked { items, reply })?;
        Ok(answer.await?)
    }
}

async fn serve(
    mut server: Box<dyn Server + Send>,
    mut agenda: Agenda,
    mut asked: mpsc::UnboundedReceiver<Asked>,
) {
    let start = Instant::now();
    let mut waiting = HashMap::new();
    let mut now = 0.0_f64;
    for id in 0.. {
        let request = loop {
            let next = agenda.events.peek().map(|Reverse(event)| event.at);
            let at = |at: f64| start + Duration::from_secs_f64(at);
            let due = next.map_or_else(|| Instant::now() + IDLE, at);
            tokio::select! {
                biased;
                () = sleep_until(due) => {
                    // At its own time, so that a timer that is late does not make the server slower.
                    if let Some(Reverse(event)) = agenda.events.pop() {
                        now = now.max(event.at);
                        happen(&mut *server, &event, &mut agenda, &mut waiting);
                    }
                }
                request = asked.recv() => break request,
            }
        };
        let Some(Asked { items, reply }) = request else {
            return;
        };
        now = now.max(start.elapsed().as_secs_f64());
        waiting.insert(id, reply);
        server.arrive(now, Request { id, items }, &mut agenda);
    }
}

fn happen(
    server: &mut dyn Server,
    event: &Event,
    agenda: &mut Agenda,
    waiting: &mut HashMap<u64, oneshot::Sender<Answer>>,
) {
    match event.what {
        What::ServerWakes => server.wake(event.at, agenda),
        What::Answered(id, answer) => {
            if server.answers(event.at, id, agenda)
                && let Some(reply) = waiting.remove(&id)
            {
                // Who gave up waiting needs none.
                let _ = reply.send(answer);
            }
        }
        What::ClientWakes => {}
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::super::CpuBound;
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_server_takes_longer_for_more() {
        let server = CpuBound::new(&mut StdRng::seed_from_u64(1));
        let live = Live::start(Box::new(server), 1);
        let mut took = Vec::new();
        for items in [10, 1000] {
            let sent = Instant::now();
            assert_eq!(live.ask(items).await.unwrap(), Answer::Done);
            took.push(sent.elapsed());
        }
        assert!(took[0] > Duration::from_millis(5), "{took:?}");
        assert!(took[1] > 10 * took[0], "{took:?}");
    }
}
