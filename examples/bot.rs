//! A bot that answers `ping` with `pong`, and counts.
//!
//! `cargo run --example bot -- HOST:PORT` runs it at a broker, in the room `lobby`, until Ctrl-C.
//! Without an address it hosts a broker of its own, lets a visitor talk to it, shows what was
//! said, and ends.

use std::error::Error;

use tertulia::{Broker, Node, Room, RoomEvent};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    if let Some(address) = std::env::args().nth(1) {
        let mut node = Node::connect("bot", &address).await?;
        let room = node.join("lobby").await?;
        tokio::select! {
            answered = answer(room) => answered?,
            interrupted = tokio::signal::ctrl_c() => interrupted?,
        }
        node.leave().await?;
        return Ok(());
    }
    let broker = Broker::bind(["127.0.0.1:0".parse()?])?;
    let address = broker.addresses()[0].to_string();
    let mut bot = Node::connect("bot", &address).await?;
    let answering = tokio::spawn(answer(bot.join("lobby").await?));
    visit(&address).await?;
    bot.leave().await?;
    answering.await??;
    broker.shut_down().await;
    Ok(())
}

/// Answers for as long as the room has something to say.
async fn answer(mut room: Room) -> Result<(), tertulia::PublishError> {
    let mut count = 0;
    while let Some(event) = room.next().await {
        if let RoomEvent::Line(line) = event
            && line.text() == "ping"
        {
            count += 1;
            room.publish(&format!("pong {count} to {}", line.name))
                .await?;
        }
    }
    Ok(())
}

/// Somebody who says `ping` three times, and waits for the answers.
async fn visit(address: &str) -> Result<(), Box<dyn Error>> {
    let mut node = Node::connect("ada", address).await?;
    let mut room = node.join("lobby").await?;
    for _ in 0..3 {
        room.publish("ping").await?;
    }
    let mut pongs = 0;
    while pongs < 3 {
        match room.next().await.ok_or("the room has ended")? {
            RoomEvent::Line(line) if line.n > 0 => {
                println!("{}: {}", line.name, line.text());
                pongs += usize::from(line.text().starts_with("pong"));
            }
            _ => {}
        }
    }
    node.leave().await?;
    Ok(())
}
