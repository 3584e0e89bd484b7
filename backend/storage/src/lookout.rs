//! The listener: hears that other backends have written, and asks the database where it stands for `fresh()`.
//!
//! Invariant: a notification carries no data and may be lost; the log is the truth, and polling finds it too.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::types::ToSql;

use crate::database::Session;
use crate::log::unsigned;
use crate::shared::Shared;
use crate::{Error, Result, sql};

/// Someone who wants to know the database's revision, asked from now on.
pub(crate) type Question = oneshot::Sender<Result<u64>>;

/// Pauses between attempts to connect.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

const QUERY_TIMEOUT: Duration = Duration::from_secs(2);

pub(crate) async fn run(shared: Arc<Shared>, mut questions: mpsc::UnboundedReceiver<Question>) {
    let (calls, mut called) = mpsc::channel(64);
    let listener = shared.clone();
    let hear = async move {
        while let Some(process) = called.recv().await {
            if process != listener.writer_process.load(Ordering::Relaxed) {
                listener.wake.notify_one();
            }
        }
    };
    let serve = async {
        // Asked, and not answered: asked again by the next session, as long as anyone waits.
        let mut asking = Vec::new();
        loop {
            let mut session = connect(&shared, &calls, &mut questions, &mut asking).await;
            // What was said while nobody listened has to be looked up.
            shared.wake.notify_one();
            answer(&shared, &mut session, &mut questions, &mut asking).await;
            // A server that lets everybody in and answers nobody is not asked without a breath.
            sleep(BACKOFF.0).await;
        }
    };
    tokio::select! {
        () = shared.closing.cancelled() => {}
        () = hear => {}
        () = serve => {}
    }
}

async fn connect(
    shared: &Shared,
    calls: &mpsc::Sender<i32>,
    questions: &mut mpsc::UnboundedReceiver<Question>,
    asking: &mut Vec<Question>,
) -> Session {
    let (mut pause, longest) = BACKOFF;
    let started = Instant::now();
    loop {
        match open(shared, calls).await {
            Ok(session) => return session,
            Err(error) => {
                if started.elapsed() > shared.config.outage_grace {
                    let queued = std::iter::from_fn(|| questions.try_recv().ok());
                    for question in asking.drain(..).chain(queued) {
                        let _ = question.send(Err(Error::Unavailable(error.to_string())));
                    }
                }
                sleep(pause).await;
                pause = (pause * 2).min(longest);
            }
        }
    }
}

async fn open(shared: &Shared, calls: &mpsc::Sender<i32>) -> Result<Session> {
    let session = shared.database.session(Some(calls.clone())).await?;
    let settings = async {
        session.client.batch_execute(sql::LISTENER_SESSION).await?;
        if shared.config.listen {
            session.client.batch_execute(sql::LISTEN).await?;
        }
        Ok::<_, Error>(())
    };
    timeout(QUERY_TIMEOUT, settings).await.map_err(|_| Error::Unavailable("no answer".to_owned()))??;
    Ok(session)
}

/// Answers until the session ends. One query answers everyone who asked before it was sent.
async fn answer(
    shared: &Shared,
    session: &mut Session,
    questions: &mut mpsc::UnboundedReceiver<Question>,
    asking: &mut Vec<Question>,
) {
    let client = &session.client;
    let prepared = async { tokio::try_join!(client.prepare(sql::REVISION), client.prepare(sql::OTHER_WRITERS)) };
    let Ok(Ok((revision, others))) = timeout(QUERY_TIMEOUT, prepared).await else { return };
    loop {
        asking.retain(|question| !question.is_closed());
        if asking.is_empty() {
            let first = tokio::select! {
                question = questions.recv() => question,
                () = session.ended() => return,
            };
            let Some(first) = first else { return };
            asking.push(first);
        }
        while let Ok(question) = questions.try_recv() {
            asking.push(question);
        }
        let asked = std::time::Instant::now();
        // In this order: what those have written who no longer write is in the revision that is read after.
        let number: [&(dyn ToSql + Sync); 1] = [&shared.sole.number];
        let both = async {
            tokio::try_join!(session.client.query_one(&others, &number), session.client.query_one(&revision, &[]),)
        };
        // A session that does not answer is no use; the next one may.
        let Ok(Ok((others, revision))) = timeout(QUERY_TIMEOUT, both).await else { return };
        let (Ok(others), Ok(revision)) = (others.try_get::<_, i64>(0), revision.try_get(0).map(unsigned)) else {
            return;
        };
        shared.metrics.questions.inc();
        if others == 0 {
            shared.sole.alone(asked, revision);
        } else {
            shared.sole.not_alone();
        }
        if revision > shared.cache.revision() {
            shared.wake.notify_one();
        }
        for question in asking.drain(..) {
            let _ = question.send(Ok(revision));
        }
    }
}
