//! Requests that lose their instance: what was sent is kept, nothing is lost, and nobody takes the pool down.

use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use super::super::resume::MAX_INTERRUPTIONS;
use super::super::tests::{World, request};
use crate::admission::Rejection;
use crate::generation::{
    Event, EventSink, FinishReason, GenerationError, GenerationRequest, Loss, Prompt, SequenceSpec,
    Suspicion, Usage,
};
use crate::pool::InstanceCommand;
use crate::units::InstanceId;

/// The sequence and the sink that an instance was sent.
fn sent(inbox: &Receiver<InstanceCommand>) -> (SequenceSpec, Box<dyn EventSink>) {
    match inbox.try_recv() {
        Ok(InstanceCommand::Run(spec, sink)) => (spec, sink),
        _ => panic!("a run"),
    }
}

/// Lets spawned tasks go as far as they can.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

fn token(token: u32, text: &str) -> Event {
    Event::Token { token, text: text.into(), logprobs: None }
}

fn finished(text: &str, completion_tokens: u32) -> Event {
    let usage = Usage { prompt_tokens: 1, cached_tokens: 0, completion_tokens };
    Event::Finished { reason: FinishReason::Stop, text: text.into(), usage }
}

fn interrupted(suspicion: Suspicion) -> Loss {
    Loss::Interrupted { reason: "broken".into(), suspicion }
}

#[tokio::test(start_paused = true)]
async fn a_request_sent_to_an_instance_that_just_died_goes_to_another() {
    let mut world = World::new("{}");
    drop(world.add_instance(4));
    let inbox = world.add_instance(4);
    let mut flight = world.admission.submit(&world.model, request(), Instant::now()).await.unwrap();
    settle().await;
    assert_eq!((world.instances[0].leased(), world.instances[1].leased()), (0, 1));
    let (_, mut sink) = sent(&inbox);
    sink.emit(Event::Started { prompt_tokens: 1 });
    sink.emit(finished("", 1));
    drop(sink);
    assert_eq!(flight.next().await, Event::Started { prompt_tokens: 1 });
    assert_eq!(flight.served().and_then(|served| served.instance), Some(InstanceId(1)));
    assert_eq!(flight.next().await, finished("", 1));
    assert_eq!((world.instances[1].leased(), world.admission.demand()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_lost_sequence_goes_on_with_what_it_had_and_before_those_who_wait() {
    let mut world = World::new("{}");
    let inbox = world.add_instance(1);
    let mut flight = world.admission.submit(&world.model, request(), Instant::now()).await.unwrap();
    let waiting = world.ask().await;
    let (first, mut sink) = sent(&inbox);
    assert!(first.generated.is_empty());
    sink.emit(Event::Started { prompt_tokens: 1 });
    sink.emit(token(7, "a"));
    sink.emit(token(8, ""));
    world.instances[0].drain();
    sink.lost(interrupted(Suspicion::None));
    settle().await;
    let inbox = world.add_instance(1);
    settle().await;
    let (second, mut sink) = sent(&inbox);
    assert_eq!((second.request, second.generated), (first.request, vec![7, 8]));
    assert!(!waiting.is_finished());
    sink.emit(Event::Started { prompt_tokens: 1 });
    sink.emit(finished("bc", 3));
    drop(sink);
    let expected = [Event::Started { prompt_tokens: 1 }, token(7, "a"), token(8, ""), finished("bc", 3)];
    for event in expected {
        assert_eq!(flight.next().await, event);
    }
    drop(waiting.await.unwrap().unwrap());
    assert_eq!(world.admission.demand(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_sequence_dropped_without_a_word_goes_on_too() {
    let mut world = World::new("{}");
    let inbox = world.add_instance(1);
    let flight = world.admission.submit(&world.model, request(), Instant::now()).await.unwrap();
    drop(sent(&inbox));
    settle().await;
    let (_, sink) = sent(&inbox);
    drop(flight);
    drop(sink);
    settle().await;
    assert_eq!((world.instances[0].leased(), world.admission.demand()), (0, 0));
    assert!(inbox.try_recv().is_err(), "nobody wants it any more");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_ends_workers_is_given_up_and_refused_for_a_while() {
    let mut world = World::new("{}");
    let inbox = world.add_instance(2);
    let mut flight = world.admission.submit(&world.model, request(), Instant::now()).await.unwrap();
    for _ in 0..2 {
        sent(&inbox).1.lost(interrupted(Suspicion::Alone));
        settle().await;
    }
    let reason = "broken".into();
    assert_eq!(flight.next().await, Event::Failed(GenerationError::Poison { workers: 2, reason }));
    let again = world.admission.submit(&world.model, request(), Instant::now()).await.unwrap_err();
    assert_eq!(again, Rejection::Quarantined { retry_after: Duration::from_secs(600) });
    let other = GenerationRequest { prompt: Prompt::Text("y".into()), ..request() };
    assert!(world.admission.submit(&world.model, other, Instant::now()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn another_model_does_not_go_on_with_what_one_began() {
    let mut world = World::new("{}");
    let inbox = world.add_instance(1);
    let mut begun = world.admission.submit(&world.model, request(), Instant::now()).await.unwrap();
    let (_, mut sink) = sent(&inbox);
    sink.emit(Event::Started { prompt_tokens: 1 });
    sink.emit(token(7, "a"));
    world.instances[0].drain();
    world.files = 9;
    let inbox = world.add_instance(1);
    sink.lost(interrupted(Suspicion::None));
    settle().await;
    for event in [Event::Started { prompt_tokens: 1 }, token(7, "a")] {
        assert_eq!(begun.next().await, event);
    }
    assert!(matches!(begun.next().await, Event::Failed(GenerationError::Lost { .. })));
    assert_eq!(world.instances[1].leased(), 0);
    // What had not begun is served by whatever there is.
    let _other = world.admission.submit(&world.model, request(), Instant::now()).await.unwrap();
    assert!(sent(&inbox).0.generated.is_empty());
}

#[tokio::test(start_paused = true)]
async fn suspects_continue_one_after_the_other() {
    let mut world = World::new("{}");
    let inbox = world.add_instance(4);
    let mut flights = Vec::new();
    for _ in 0..3 {
        flights.push(world.admission.submit(&world.model, request(), Instant::now()).await.unwrap());
    }
    let sinks: Vec<_> = flights.iter().map(|_| sent(&inbox).1).collect();
    for sink in sinks {
        sink.lost(interrupted(Suspicion::Shared));
    }
    for _ in 0..3 {
        settle().await;
        let (_, mut sink) = sent(&inbox);
        settle().await;
        assert!(inbox.try_recv().is_err(), "another suspect before this one has shown that it can go on");
        sink.emit(Event::Started { prompt_tokens: 1 });
        sink.emit(token(1, "a"));
        // It runs on while the next one is tried.
        std::mem::forget(sink);
    }
}

#[tokio::test(start_paused = true)]
async fn interruptions_without_end_end_with_an_error() {
    let mut world = World::new("{}");
    let inbox = world.add_instance(1);
    let mut flight = world.admission.submit(&world.model, request(), Instant::now()).await.unwrap();
    for _ in 0..MAX_INTERRUPTIONS {
        sent(&inbox).1.lost(interrupted(Suspicion::None));
        settle().await;
    }
    let error = GenerationError::Lost { interruptions: MAX_INTERRUPTIONS, reason: "broken".into() };
    assert_eq!(flight.next().await, Event::Failed(error));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_while_its_request_looks_for_an_instance_is_forgotten() {
    let mut world = World::new("{}");
    let inbox = world.add_instance(1);
    let flight = world.admission.submit(&world.model, request(), Instant::now()).await.unwrap();
    world.instances[0].drain();
    sent(&inbox).1.lost(interrupted(Suspicion::None));
    settle().await;
    assert_eq!((world.depth(), world.admission.demand()), (1, 1));
    drop(flight);
    settle().await;
    assert_eq!((world.depth(), world.admission.demand()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_model_that_is_removed_finishes_what_it_has_and_takes_nothing_new() {
    let mut world = World::new("{}");
    let _inbox = world.add_instance(1);
    let grant = world.grant().await;
    assert!(!world.admission.remove(&world.model));
    drop(grant);
    assert!(world.admission.remove(&world.model));
    let removed = world.admission.submit(&world.model, request(), Instant::now()).await.unwrap_err();
    assert_eq!(removed, Rejection::Removed { model: world.model.clone() });
}
