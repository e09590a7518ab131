"""What must not be lost: the frame journal, snapshots of the engine, the alarm outbox, and frames nobody could read."""
