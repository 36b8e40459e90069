//! What is said once in the log, when there is one.

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Notes {
    infos: Vec<String>,
    warnings: Vec<String>,
}

impl Notes {
    /// How something is understood that could be understood otherwise.
    pub(super) fn info(&mut self, text: impl Into<String>) {
        self.infos.push(text.into());
    }

    /// What is given and has no effect. Said once, however often it is met.
    pub(super) fn warn(&mut self, text: impl Into<String>) {
        let text = text.into();
        if !self.warnings.contains(&text) {
            self.warnings.push(text);
        }
    }

    /// Writes them to the log.
    pub(super) fn log(&mut self) {
        for text in self.warnings.drain(..) {
            tracing::warn!("{text}");
        }
        for text in self.infos.drain(..) {
            tracing::info!("{text}");
        }
    }

    #[cfg(test)]
    pub(super) fn warnings(&self) -> &[String] {
        &self.warnings
    }

    #[cfg(test)]
    pub(super) fn infos(&self) -> &[String] {
        &self.infos
    }
}
