//! Wakes that come from other threads, gathered for each worker.
//!
//! A worker's tasks run where their connections are, and most of what they wait for (a commit, an event) comes from
//! another thread. tokio's `LocalSet` takes those who are woken from elsewhere only when nobody is ready who was woken
//! here, or at each 31st turn: a busy worker would always begin new requests before it ended the old ones. So whoever
//! is woken from elsewhere is put on a list, and one task wakes all who are on it, here.
//!
//! Invariant: no wake is lost. A relay that is woken after it was taken from the list is put on it again.

use std::cell::OnceCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures::task::AtomicWaker;
use parking_lot::Mutex;

thread_local! {
    static INBOX: OnceCell<Arc<Inbox>> = const { OnceCell::new() };
}

/// A worker's list.
#[derive(Default)]
struct Inbox {
    woken: Mutex<Vec<Arc<Relay>>>,
    pump: AtomicWaker,
}

/// Stands between a future and its task.
struct Relay {
    inbox: Arc<Inbox>,
    task: Mutex<Waker>,
    listed: AtomicBool,
}

impl Inbox {
    /// This worker's. It must be one that runs local tasks.
    fn here() -> Arc<Self> {
        INBOX.with(|inbox| {
            Arc::clone(inbox.get_or_init(|| {
                let inbox = Arc::new(Self::default());
                actix_web::rt::spawn(pump(Arc::clone(&inbox)));
                inbox
            }))
        })
    }

    fn is_here(self: &Arc<Self>) -> bool {
        // While a thread ends, nobody is here any more.
        INBOX.try_with(|inbox| inbox.get().is_some_and(|inbox| Arc::ptr_eq(inbox, self))).unwrap_or(false)
    }
}

/// Wakes all who are on the list, as often as there are any.
async fn pump(inbox: Arc<Inbox>) {
    poll_fn(|cx| {
        inbox.pump.register(cx.waker());
        let woken = std::mem::take(&mut *inbox.woken.lock());
        for relay in woken {
            relay.listed.store(false, Ordering::Release);
            relay.task.lock().wake_by_ref();
        }
        Poll::<()>::Pending
    })
    .await;
}

impl Wake for Relay {
    fn wake(self: Arc<Self>) {
        if self.inbox.is_here() {
            self.task.lock().wake_by_ref();
        } else if !self.listed.swap(true, Ordering::AcqRel) {
            let inbox = Arc::clone(&self.inbox);
            let mut woken = inbox.woken.lock();
            woken.push(self);
            if woken.len() == 1 {
                drop(woken);
                inbox.pump.wake();
            }
        }
    }
}

/// The relay of one future, made when it is first polled.
#[derive(Default)]
pub struct Relayed(Option<(Arc<Relay>, Waker)>);

impl Relayed {
    /// Polls by way of the relay.
    pub fn poll<T>(&mut self, cx: &Context<'_>, poll: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
        let (relay, waker) = self.0.get_or_insert_with(|| {
            let task = Mutex::new(cx.waker().clone());
            let relay = Arc::new(Relay { inbox: Inbox::here(), task, listed: AtomicBool::new(false) });
            (Arc::clone(&relay), Waker::from(relay))
        });
        relay.task.lock().clone_from(cx.waker());
        poll(&mut Context::from_waker(waker))
    }
}

/// The future, woken by way of a relay.
pub fn relayed<F: Future>(mut future: Pin<Box<F>>) -> impl Future<Output = F::Output> {
    let mut relayed = Relayed::default();
    poll_fn(move |cx| relayed.poll(cx, |cx| future.as_mut().poll(cx)))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;
    use std::time::Duration;

    use futures::future::join_all;
    use tokio::sync::oneshot;
    use tokio::task::{LocalSet, spawn_local, yield_now};

    use super::*;

    const WAITING: usize = 100;

    /// How often a task of this thread has its turn until all are answered from another one.
    async fn turns(relay: bool) -> usize {
        let (senders, waiting): (Vec<_>, Vec<_>) = (0..WAITING).map(|_| oneshot::channel::<()>()).unzip();
        let waiting: Vec<_> = waiting
            .into_iter()
            .map(|answer| {
                spawn_local(async move {
                    if relay { relayed(Box::pin(answer)).await.unwrap() } else { answer.await.unwrap() }
                })
            })
            .collect();
        // They wait by now.
        yield_now().await;
        let (turns, ended) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(false)));
        // What is always ready here, as new requests are on a busy worker.
        for _ in 0..8 {
            let (turns, ended) = (Rc::clone(&turns), Rc::clone(&ended));
            spawn_local(async move {
                poll_fn(|cx| {
                    turns.set(turns.get() + 1);
                    if ended.get() {
                        return Poll::Ready(());
                    }
                    cx.waker().wake_by_ref();
                    Poll::Pending
                })
                .await;
            });
        }
        std::thread::spawn(move || senders.into_iter().for_each(|sender| sender.send(()).unwrap())).join().unwrap();
        join_all(waiting).await;
        ended.set(true);
        turns.get()
    }

    #[tokio::test]
    async fn the_answered_do_not_wait_for_each_other() {
        LocalSet::new()
            .run_until(async {
                let (direct, relayed) = (turns(false).await, turns(true).await);
                assert!(direct > 3 * relayed, "{direct} turns without, {relayed} with a relay");
            })
            .await;
    }

    #[tokio::test]
    async fn nothing_is_lost_between_threads() {
        let passing = async {
            let (there, mut requests) = tokio::sync::mpsc::unbounded_channel::<oneshot::Sender<u32>>();
            let other = std::thread::spawn(move || {
                let mut number = 0;
                while let Some(answer) = requests.blocking_recv() {
                    number += 1;
                    let _ = answer.send(number);
                }
            });
            let all = (0..32).map(|_| {
                let there = there.clone();
                spawn_local(relayed(Box::pin(async move {
                    for _ in 0..500 {
                        let (answer, answered) = oneshot::channel();
                        there.send(answer).unwrap();
                        answered.await.unwrap();
                    }
                })))
            });
            for one in all.collect::<Vec<_>>() {
                one.await.unwrap();
            }
            drop(there);
            other.join().unwrap();
        };
        tokio::time::timeout(Duration::from_secs(60), LocalSet::new().run_until(passing)).await.unwrap();
    }
}
