//! What is said once in the log, when there is one.

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Notes {
    infos: Vec<String>,
    warnings: Vec<String>,
}

impl Notes {
    /// How something is understood that could be understood otherwise.
    pub(crate) fn info(&mut self, text: impl Into<String>) {
        self.infos.push(text.into());
    }

    /// What is given and has no effect. Said once, however often it is met.
    pub(crate) fn warn(&mut self, text: impl Into<String>) {
        let text = text.into();
        if !self.warnings.contains(&text) {
            self.warnings.push(text);
        }
    }

    /// Writes them to the log.
    pub(crate) fn log(&mut self) {
        for text in self.warnings.drain(..) {
            tracing::warn!("{text}");
        }
        for text in self.infos.drain(..) {
            tracing::info!("{text}");
        }
    }

    #[cfg(test)]
    pub(crate) fn warnings(&self) -> &[String] {
        &self.warnings
    }

    #[cfg(test)]
    pub(crate) fn infos(&self) -> &[String] {
        &self.infos
    }
}
