//! Taking in what was made by other means; see [`import`].

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::backup::job;
use super::error::JobError;
use super::running::Running;
use super::runs::Started;
use super::{Agent, AgentError};
use crate::catalog::{Seen, Task, Wish};
use crate::compress::told_by_name;
use crate::import;
use crate::repository::Repository;
use crate::store::passed_on;

impl Agent {
    /// Begins to take in a backup of a source, which need not be configured. What lies in a repository stays there; all
    /// else is copied into that of the source, or into the first one.
    pub async fn start_import(&self, path: &str, source: &str) -> Result<Started, AgentError> {
        let path = path.trim_end_matches('/');
        let is_full = path.starts_with('/') || path.starts_with("s3://");
        let name = path
            .rsplit('/')
            .next()
            .filter(|name| is_full && !name.is_empty());
        let name = name.ok_or_else(|| {
            AgentError::Asked(format!(
                "{path:?} is no full path; give that of the backup's folder or file, which begins with /"
            ))
        })?;
        let source = match source {
            "" => self.source("")?.name.clone(),
            source => source.to_owned(),
        };
        let repository = self.repository_for(path, &source)?;
        let path = PathBuf::from(path);
        let is_file = path.is_file();
        let wish = Wish {
            source,
            task: Task::Import,
            due: None,
            last: None,
            place: repository.place(),
            backup: if is_file { told_by_name(name).0 } else { name }.to_owned(),
        };
        self.begin(&wish, None, |_| {
            job(async move |agent: Agent, running: Arc<Running>| {
                let done = Box::pin(agent.take_in(&*repository, &path, &running)).await;
                if done.is_err()
                    && let Err(error) = agent.clean(&*repository, &running.run.backup).await
                {
                    tracing::warn!(%error, "what was copied is taken away later");
                }
                done.map(|()| None)
            })
        })
        .await
    }

    /// The one it lies in, else that of the source, else the first.
    fn repository_for(&self, path: &str, source: &str) -> Result<Arc<dyn Repository>, AgentError> {
        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        let own = self.sources.get(source).map(|source| &source.repository);
        let found = self.repositories.get(parent).or(own);
        let found = found.or_else(|| self.repositories.values().next());
        let none = "the configuration names no repository (backup_agent.repository.url)";
        found
            .cloned()
            .ok_or_else(|| AgentError::Asked(none.to_owned()))
    }

    async fn take_in(
        &self,
        repository: &dyn Repository,
        path: &Path,
        running: &Running,
    ) -> Result<(), JobError> {
        let (read, heard) = tokio::sync::watch::channel(0);
        let importing = import::import(repository, path, &running.run.source, &self.clock, &read);
        let importing = passed_on(
            running.seen(),
            heard,
            |read| of_import(*read),
            Box::pin(importing),
        );
        let manifest = running
            .unless_stopped(async {
                importing.await.map_err(|error| {
                    let text = error.to_string();
                    if error.is_of_backup() {
                        JobError::Bad(text)
                    } else {
                        JobError::Failed(text)
                    }
                })
            })
            .await?;
        self.note(repository, &manifest).await;
        Ok(())
    }
}

fn of_import(read: u64) -> Seen {
    Seen {
        phase: "reading it".to_owned(),
        bytes: read,
        total_bytes: None,
    }
}
