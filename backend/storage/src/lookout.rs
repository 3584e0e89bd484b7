//! The listener: hears that other backends have written, and asks the database where it stands for `fresh()`.
//!
//! Invariant: a notification carries no data and may be lost; the log is the truth, and polling finds it too.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};

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
        loop {
            let mut session = connect(&shared, &calls, &mut questions).await;
            // What was said while nobody listened has to be looked up.
            shared.wake.notify_one();
            answer(&shared, &mut session, &mut questions).await;
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
) -> Session {
    let (mut pause, longest) = BACKOFF;
    let started = Instant::now();
    loop {
        match open(shared, calls).await {
            Ok(session) => return session,
            Err(error) => {
                if started.elapsed() > shared.config.outage_grace {
                    while let Ok(question) = questions.try_recv() {
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
async fn answer(shared: &Shared, session: &mut Session, questions: &mut mpsc::UnboundedReceiver<Question>) {
    let Ok(statement) = session.client.prepare(sql::REVISION).await else { return };
    loop {
        let first = tokio::select! {
            question = questions.recv() => question,
            () = session.ended() => return,
        };
        let Some(first) = first else { return };
        if first.is_closed() {
            continue;
        }
        let mut asking = vec![first];
        while let Ok(question) = questions.try_recv() {
            asking.push(question);
        }
        let answer = match timeout(QUERY_TIMEOUT, session.client.query_one(&statement, &[])).await {
            Ok(Ok(row)) => row.try_get(0).map(unsigned).map_err(Error::from),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(Error::Unavailable("the database does not answer".to_owned())),
        };
        if answer.as_ref().is_ok_and(|revision| *revision > shared.cache.revision()) {
            shared.wake.notify_one();
        }
        let failed = answer.is_err();
        for question in asking {
            let _ = question.send(answer.clone());
        }
        if failed {
            return;
        }
    }
}
