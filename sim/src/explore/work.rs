//! Sharing numbered pieces of work among threads, each with means of its own.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Explored, Trier};
use crate::prepare::PrepareError;

/// Stack of a worker: a whole pipeline's future is moved about on it, unoptimised in tests.
const STACK: usize = 32 << 20;

/// Carries out pieces 0 to `count`, in any order; results come back in theirs.
pub(super) fn share<'a, T: Send>(
    jobs: usize,
    count: usize,
    means: impl Fn() -> Result<Trier<'a>, PrepareError> + Sync,
    piece: impl Fn(&mut Trier<'a>, usize) -> T + Sync,
) -> Result<(Vec<T>, Vec<Explored>), PrepareError> {
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, T, Explored)>> = Mutex::default();
    let failed: Mutex<Option<PrepareError>> = Mutex::default();
    let lock = |m: &Mutex<Vec<(usize, T, Explored)>>, part| {
        m.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(part);
    };
    std::thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, count.max(1)) {
            let work = || {
                let mut trier = match means() {
                    Ok(trier) => trier,
                    Err(error) => {
                        *failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner) =
                            Some(error);
                        return;
                    }
                };
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    if i >= count {
                        return;
                    }
                    let result = piece(&mut trier, i);
                    lock(&done, (i, result, std::mem::take(&mut trier.out)));
                }
            };
            let thread = std::thread::Builder::new().stack_size(STACK);
            // Only a machine without memory for one more thread refuses.
            thread.spawn_scoped(scope, work).expect("a thread can be started");
        }
    });
    if let Some(error) = failed.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
        return Err(error);
    }
    let mut done = done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    done.sort_by_key(|(i, ..)| *i);
    Ok(done.into_iter().map(|(_, result, part)| (result, part)).unzip())
}
