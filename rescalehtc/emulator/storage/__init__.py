"""The shared folders of projects and tasks, served as S3 serves objects."""
