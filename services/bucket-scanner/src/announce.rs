//! What the scanner announces, and what announcements of others mean to it.

use stoker_proto::common::v1::Source;
use stoker_proto::events::v1::event::Kind;
use stoker_proto::events::v1::{
    JobEnded, JobStarted, LoadFinished, ObjectChanged, ObjectDiscovered, ObjectRef, WaveEnded,
};
use stoker_shared::kafka::{Events, object_key};
use tokio_util::sync::CancellationToken;

use crate::ledger::{Ended, EndedJob, Finished, ObjectNews};
use crate::signals::Signals;

/// Says what has become durable.
#[derive(Debug, Clone)]
pub(crate) struct Announcer {
    pub(crate) events: Events,
    pub(crate) signals: Signals,
}

impl Announcer {
    /// Objects of a page that are new or have changed.
    pub(crate) fn registered(&self, source: &Source, news: &[ObjectNews]) {
        for news in news {
            let object = ObjectRef {
                source: Some(source.clone()),
                bucket_name: news.bucket_name.clone(),
                key: news.key.clone(),
                version: news.version,
            };
            let key = object_key(&object);
            let (object, size) = (Some(object), news.size);
            let kind = if news.version == 1 {
                Kind::ObjectDiscovered(ObjectDiscovered { object, size })
            } else {
                Kind::ObjectChanged(ObjectChanged { object, size })
            };
            self.events.announce(&key, kind);
        }
    }

    /// What ended with a unit.
    pub(crate) fn finished(&self, finished: Finished) {
        if let Some(load) = finished.load {
            let object = ObjectRef {
                source: Some(load.source),
                bucket_name: load.bucket_name,
                key: load.key,
                version: load.version,
            };
            let key = object_key(&object);
            let finished = LoadFinished {
                object: Some(object),
                job_id: load.job_id,
                loaded: load.loaded,
                rejected: load.rejected,
            };
            self.events.announce(&key, Kind::LoadFinished(finished));
        }
        self.ended(Ended {
            jobs: finished.ended_job.into_iter().collect(),
            waves_of: finished.ended_wave_of.into_iter().collect(),
        });
    }

    /// Also to workers that wait in this process for the next wave, and to who watches jobs.
    pub(crate) fn ended(&self, ended: Ended) {
        for job_id in ended.waves_of {
            self.signals.work_planned();
            let ended = Kind::WaveEnded(WaveEnded { job_id });
            self.events.announce(&job_key(job_id), ended);
        }
        self.jobs_ended(ended.jobs);
    }

    pub(crate) fn job_started(&self, job_id: i64) {
        let started = Kind::JobStarted(JobStarted { job_id });
        self.events.announce(&job_key(job_id), started);
    }

    /// Also to who watches the jobs in this process.
    pub(crate) fn jobs_ended(&self, jobs: impl IntoIterator<Item = EndedJob>) {
        for EndedJob { job_id, state } in jobs {
            self.signals.job_ended();
            let ended = JobEnded {
                job_id,
                state: state.as_str_name().to_owned(),
            };
            self.events
                .announce(&job_key(job_id), Kind::JobEnded(ended));
        }
    }
}

fn job_key(job_id: i64) -> String {
    format!("job/{job_id}")
}

/// Wakes who waits in this process when another has done what they wait for; until `shutdown`.
pub(crate) async fn wake(events: &Events, signals: &Signals, shutdown: &CancellationToken) {
    let mut listener = events.listen();
    while let Some(heard) = shutdown.run_until_cancelled(listener.next()).await {
        match heard.map(|heard| heard.event.kind.clone()) {
            Some(Some(Kind::ObjectDiscovered(_) | Kind::ObjectChanged(_) | Kind::WaveEnded(_))) => {
                signals.work_planned();
            }
            // Some wait for a listing, a retry for a worker.
            Some(Some(Kind::JobStarted(_))) => {
                signals.scan_wanted();
                signals.work_planned();
            }
            Some(Some(Kind::JobEnded(_))) => signals.job_ended(),
            Some(_) => signals.job_changed(),
            // Some were missed: any of them.
            None => {
                signals.work_planned();
                signals.scan_wanted();
            }
        }
    }
}
