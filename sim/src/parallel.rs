//! Sharing numbered pieces of work among threads, each with means of its own.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Stack of a worker: a whole pipeline's future is moved about on it, unoptimised in tests.
pub const STACK: usize = 32 << 20;

/// Carries out pieces 0 to `count` in any order; results come back in theirs.
///
/// `means` makes what one thread works with: it need not be `Send`.
///
/// # Errors
/// The first error of making means.
pub fn share<M, T: Send, E: Send>(
    jobs: usize,
    count: usize,
    means: impl Fn() -> Result<M, E> + Sync,
    piece: impl Fn(&mut M, usize) -> T + Sync,
) -> Result<Vec<T>, E> {
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, T)>> = Mutex::default();
    let failed: Mutex<Option<E>> = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, count.max(1)) {
            let work = || {
                let mut mine = match means() {
                    Ok(mine) => mine,
                    Err(error) => {
                        *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                        return;
                    }
                };
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    if i >= count {
                        return;
                    }
                    let result = piece(&mut mine, i);
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((i, result));
                }
            };
            let thread = std::thread::Builder::new().stack_size(STACK);
            // Only a machine without memory for one more thread refuses.
            thread.spawn_scoped(scope, work).expect("a thread can be started");
        }
    });
    if let Some(error) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(i, _)| *i);
    Ok(done.into_iter().map(|(_, result)| result).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_pieces_whatever_the_threads_do() {
        for jobs in [1, 3, 16] {
            let squares = share(jobs, 100, || Ok::<_, ()>(()), |(), i| i * i);
            assert_eq!(squares, Ok((0..100).map(|i| i * i).collect::<Vec<_>>()));
        }
    }

    #[test]
    fn means_that_cannot_be_made_are_an_error() {
        assert_eq!(share(2, 5, || Err::<(), _>("no"), |(), i| i), Err("no"));
    }
}
