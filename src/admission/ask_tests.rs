//! Questions: answered beside whatever runs, asked again where an instance ends, and a reason to load a model.

use std::sync::Arc;
use std::sync::mpsc::Receiver;

use super::super::tests::{Granted, World};
use super::*;
use crate::pool::{Answer, InstanceCommand};

/// The question that an instance was sent, and where its answer goes.
fn asked(inbox: &Receiver<InstanceCommand>) -> (Arc<Question>, Answer) {
    match inbox.try_recv() {
        Ok(InstanceCommand::Ask(question, answer)) => (question, answer),
        _ => panic!("a question"),
    }
}

/// Asks how many tokens a prompt has, and has gone as far as that can when this returns.
async fn count(world: &World) -> tokio::task::JoinHandle<Result<u32, AskError>> {
    let (admission, model) = (Arc::clone(&world.admission), world.model.clone());
    let task = tokio::spawn(async move { admission.count_tokens(&model, Prompt::Text("x".into())).await });
    settle().await;
    task
}

/// Lets spawned tasks go as far as they can.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_question_is_answered_while_all_slots_are_taken_and_others_wait() {
    let mut world = World::new("{}");
    let inbox = world.add_instance(1);
    let _holder: Granted = world.grant().await;
    let waiting = world.ask().await;
    let counting = count(&world).await;
    let (question, answer) = asked(&inbox);
    assert_eq!(*question, Question::Count(Prompt::Text("x".into())));
    answer.give(Ok(Reply::Count(7)));
    assert_eq!(counting.await.unwrap(), Ok(7));
    assert!(!waiting.is_finished() && world.depth() == 1);
}

#[tokio::test(start_paused = true)]
async fn a_question_whose_instance_ends_is_asked_elsewhere_and_given_up_after_a_few() {
    let mut world = World::new("{}");
    let [first, second] = [world.add_instance(1), world.add_instance(1)];
    // Of several that have as few questions the last one is asked.
    let counting = count(&world).await;
    drop((asked(&second), second));
    // It is asked once more, refuses, and is left alone.
    settle().await;
    let (_, answer) = asked(&first);
    answer.give(Ok(Reply::Count(3)));
    assert_eq!(counting.await.unwrap(), Ok(3));
    assert!(!world.instances[1].load().ready && world.instances[0].load().ready);

    let counting = count(&world).await;
    for _ in 0..MAX_LOST {
        drop(asked(&first));
        settle().await;
    }
    let answer = counting.await.unwrap();
    assert!(matches!(answer, Err(AskError::Failed(GenerationError::Lost { .. }))), "{answer:?}");
    assert!(world.instances[0].load().ready, "whose answers are lost is not drained for it");
}

#[tokio::test(start_paused = true)]
async fn where_nothing_is_loaded_a_question_waits_like_a_request_but_for_no_slot() {
    let mut world = World::new("{}");
    let first = world.ask().await;
    let counting = count(&world).await;
    assert_eq!(world.depth(), 2, "the controller sees that somebody waits");
    let inbox = world.add_instance(1);
    let _holder = first.await.unwrap().expect("the only slot");
    settle().await;
    let (_, answer) = asked(&inbox);
    answer.give(Ok(Reply::Count(1)));
    assert_eq!(counting.await.unwrap(), Ok(1));
    assert_eq!((world.depth(), world.admission.demand()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_slot_that_becomes_free_in_an_instance_that_goes_is_no_answer() {
    let mut world = World::new("{}");
    let _going = world.add_instance(1);
    let holder = world.grant().await;
    world.instances[0].drain();
    let counting = count(&world).await;
    drop(holder);
    settle().await;
    assert!(!counting.is_finished() && world.depth() == 1, "it still waits");
    let inbox = world.add_instance(1);
    settle().await;
    let (_, answer) = asked(&inbox);
    answer.give(Ok(Reply::Count(2)));
    assert_eq!((counting.await.unwrap(), world.admission.demand()), (Ok(2), 0));
}

#[tokio::test(start_paused = true)]
async fn a_question_without_an_answer_ends_in_time() {
    let mut world = World::new("{ timeout_ms: 500 }");
    assert!(matches!(
        count(&world).await.await.unwrap(),
        Err(AskError::Rejected(Rejection::TimedOut { .. }))
    ));
    let inbox = world.add_instance(1);
    let counting = count(&world).await;
    let _kept = asked(&inbox);
    assert!(matches!(counting.await.unwrap(), Err(AskError::Failed(GenerationError::Lost { .. }))));
}

#[tokio::test(start_paused = true)]
async fn who_drains_answers_nothing_new() {
    let mut world = World::new("{}");
    let _inbox = world.add_instance(1);
    world.admission.pause(true);
    let paused = count(&world).await.await.unwrap();
    assert!(matches!(paused, Err(AskError::Rejected(Rejection::Paused { .. }))), "{paused:?}");
    world.admission.close();
    world.admission.pause(false);
    let closed = count(&world).await.await.unwrap();
    assert!(matches!(closed, Err(AskError::Rejected(Rejection::ShuttingDown { .. }))), "{closed:?}");
}
