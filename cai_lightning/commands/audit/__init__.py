"""The verb `audit`: how far can each evaluator be trusted?"""
