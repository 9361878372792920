"""How good a trained model is: metrics, scores over patients, the evaluation page and the model card."""
