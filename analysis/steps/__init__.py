"""Steps: functions from dataset to dataset."""
