"""The models of a study taken to a survey: exported, and applied to a catalogue of any size."""
