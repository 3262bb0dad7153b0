//! A thread for callers that must not cost more than what they measure.

use tokio::runtime::Runtime;

/// Runs tasks on the thread that waits for them.
// None only while it is dropped.
pub(crate) struct OneThread(Option<Runtime>);

impl OneThread {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self(Some(runtime)))
    }

    /// Runs this to its end. The runtime that this is called from goes on with everything else.
    pub(crate) fn run<T>(&self, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
        let Some(runtime) = &self.0 else {
            anyhow::bail!("the callers have gone");
        };
        tokio::task::block_in_place(|| runtime.block_on(work))
    }
}

impl Drop for OneThread {
    fn drop(&mut self) {
        // Dropping a runtime waits for it, which is not allowed where others wait.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
