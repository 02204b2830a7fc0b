"""What responses are judged by: constitutions, the selection of principles, few-shot examples, and their wording."""
